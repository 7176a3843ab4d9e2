"""Operators made of one symmetric eigendecomposition: a function of a matrix, and covariance pooling on both routes.

Notation as in `docs/mathematics.md`: `X` features less their mean, divided by `sqrt(N)`; `P = X X^T = U diag(l) U^T`; `Q = f(P)`;
`G` the symmetric gradient of the loss with respect to `Q`; `H = U^T G U`; `M` what the gradient rule makes of `H`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from gcp_repro.errors import GCPError, NonFiniteError
from gcp_repro.linalg.autograd import Operator
from gcp_repro.linalg.covariance import (
    center,
    symmetric_from_upper_triangle,
    upper_triangle,
    upper_triangle_of_product,
)
from gcp_repro.linalg.functions import sqrt
from gcp_repro.linalg.gradient_rules import GradientRule
from gcp_repro.linalg.options import Above, AtLeast, Below
from gcp_repro.linalg.parallel import for_each_chunk
from gcp_repro.linalg.spectral_function import SpectralFunction

__all__ = ["Kept", "MatrixFunction", "SpectralPooling", "decompose", "number_kept", "require_finite"]


def require_finite(matrix: Tensor) -> None:
    """Refuse NaN and infinity, which LAPACK may answer by not returning.

    Raises:
        NonFiniteError: "... NaN or infinite entries: the features hold NaN ..."
    """
    if not bool(torch.isfinite(matrix.sum())) and not bool(torch.isfinite(matrix).all()):
        raise NonFiniteError(
            f"the covariance needs finite features; got NaN or infinite entries in a chunk of shape {tuple(matrix.shape)}: "
            "the features hold NaN or infinity, or their squares overflow; lower the learning rate, or "
            "build the layer with on_nonfinite='propagate' to let NaN through"
        )


def decompose(matrix: Tensor, on_host: bool = False) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors of symmetric `(b, n, n)`; reads the lower triangle.

    Args:
        matrix: On any device.
        on_host: Decompose on the CPU, one matrix a thread; the paper does, and batches on a GPU can still be slower.

    Raises:
        NonFiniteError: NaN or infinity in the matrix.
    """
    require_finite(matrix)
    if not on_host or matrix.device.type == "cpu":
        try:
            eigenvalues, eigenvectors = torch.linalg.eigh(matrix)
            return eigenvalues, eigenvectors
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            if matrix.device.type == "cpu":
                raise  # CUDA's solver gives up on some finite matrices that LAPACK decomposes: those go to the host
    host = matrix.cpu()
    eigenvalues, eigenvectors = torch.empty_like(host[..., 0]), torch.empty_like(host)

    def work(part: Tensor, values: Tensor, vectors: Tensor) -> None:
        for target, source in zip((values, vectors), torch.linalg.eigh(part), strict=True):
            target.copy_(source)

    for_each_chunk(work, [host, eigenvalues, eigenvectors], host[0].nbytes)
    return eigenvalues.to(matrix.device), eigenvectors.to(matrix.device)


def check_semi_definite(eigenvalues: Tensor) -> None:
    """Refuse spectra `(b, n)`, ascending, with an eigenvalue that rounding cannot have made negative.

    Raises:
        GCPError: "... positive semi-definite; got an eigenvalue of -1 ..."
    """
    smallest, largest = eigenvalues[..., 0], eigenvalues.abs().amax(-1)
    tolerance = torch.finfo(eigenvalues.dtype).eps ** 0.5 * largest
    if bool((smallest < -tolerance).any()):
        raise GCPError(
            f"the matrix has to be positive semi-definite; got an eigenvalue of {smallest.min().item():.3g}: "
            "add a multiple of the identity, or use torch.linalg.eigh for indefinite matrices"
        )


def nonzero_spectrum(eigenvalues: Tensor, size: int) -> Tensor:
    """Set eigenvalues that are rounding noise, below `size * eps * l_max`, and those too small for a reciprocal to 0.

    Args:
        eigenvalues: `(b, n)`, ascending.
        size: Larger dimension of the features or the matrix.
    """
    info = torch.finfo(eigenvalues.dtype)
    noise = (eigenvalues[..., -1:] * (size * info.eps)).clamp(min=info.tiny)
    return torch.where(eigenvalues > noise, eigenvalues, 0.0)


Kept = Annotated[int, AtLeast(1)] | Annotated[float, Above(0), Below(1)] | None
"""Of the option `top_n`: how many of the largest eigenvalues, or what share of all of them."""


def number_kept(top_n: int | float | None, size: int) -> int | None:
    """How many of `size` eigenvalues `top_n` keeps; None for all.

    Example:
        >>> number_kept(0.78125, 64), number_kept(7, 64)
        (50, 7)
    """
    return max(1, round(top_n * size)) if isinstance(top_n, float) else top_n


def keep_largest(eigenvalues: Tensor, top_n: int | None, floor: float = 0.0) -> Tensor:
    """Set all but the `top_n` largest of `(b, n)` ascending eigenvalues to `floor` (eq. 11); `None` keeps all."""
    if top_n is None or top_n >= eigenvalues.shape[-1]:
        return eigenvalues
    kept = eigenvalues.clone()
    kept[..., : eigenvalues.shape[-1] - top_n] = floor
    return kept


def has_second_derivative(function: SpectralFunction, rule: GradientRule, top_n: int | None) -> bool:
    """Whether the gradient is that of the root, by its exact table, with all eigenvalues kept."""
    return function.is_root and rule.is_exact_for(function) and top_n is None


def second_derivative_of_root(e: Tensor, g: Tensor, spectrum: Tensor) -> tuple[Tensor, Tensor]:
    """Gradients of `<E, D * G>`, `D` the root's table, with respect to `G` and to the matrix, all in its eigenbasis.

    With `A = D * E` and `Y = D * G` they are `A` and `-D * (A Y + Y A)`; pairs of zeros, where `D` is 0, add what keeps the
    matrix at its rank (`docs/mathematics.md`, section 8).

    Args:
        e: `(b, n, n)`, symmetric.
        g: `(b, n, n)`, symmetric.
        spectrum: `(b, n)`, with exact zeros for the null space.
    """
    table = sqrt().gradient(spectrum).table
    a, y = table * e, table * g
    product = a @ y
    by_p = -table * (product + product.mT)
    null = spectrum == 0
    if bool(null.any()):
        to_range = torch.where(null, torch.inf, spectrum).pow(-1.5).unsqueeze(-2)
        pairs = (null.unsqueeze(-1) & null.unsqueeze(-2)).to(e.dtype)
        mixed = ((pairs * g) @ e + (pairs * e) @ g) * to_range
        by_p += mixed + mixed.mT
    return a, by_p


@dataclass(frozen=True)
class MatrixFunction(Operator):
    """`f(P)` for symmetric positive semi-definite `P`, `(b, n, n)`; eigenvalues that are rounding noise count as zero.

    Attributes:
        function: What is done to the eigenvalues.
        rule: How the gradient table is filled.
        dtype: Of the computation.
        top_n: Keep only so many eigenvalues.
    """

    function: SpectralFunction
    rule: GradientRule
    dtype: torch.dtype = torch.float64
    top_n: int | None = None

    def output_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return rows, rows

    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        return (rows,), (rows, rows)

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        eigenvalues, eigenvectors = decompose(x)
        check_semi_definite(eigenvalues)
        spectrum = keep_largest(nonzero_spectrum(eigenvalues, x.shape[-1]), self.top_n)
        saved[0].copy_(spectrum)
        saved[1].copy_(eigenvectors)
        images = self.function.value(spectrum)
        torch.bmm(eigenvectors * images.unsqueeze(-2), eigenvectors.mT, out=output)

    def backward(self, upstream: Tensor, x: Tensor, *saved: Tensor) -> Tensor:
        spectrum, u = saved
        h = u.mT @ (0.5 * (upstream + upstream.mT)) @ u
        table = self.rule.table(spectrum, self.function.value(spectrum), self.function)
        return u @ table.apply(h) @ u.mT

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        if not has_second_derivative(self.function, self.rule, self.top_n):
            return super().double_backward(direction, upstream, x, *saved)
        spectrum, u = saved
        e, g = (u.mT @ (0.5 * (matrix + matrix.mT)) @ u for matrix in (direction, upstream))
        by_upstream, by_p = second_derivative_of_root(e, g, spectrum)
        return u @ by_upstream @ u.mT, u @ by_p @ u.mT


@dataclass(frozen=True)
class SpectralPooling(Operator):
    """Upper triangle of `f(X X^T)` from features, rank-aware: decomposes the smaller of `X^T X` and `X X^T` (route `gram`).

    The null space of `P` is never formed. Where `U` holds the eigenvectors of the range only, pairs within the null space drop
    out of the gradient because `U0^T X = 0`, and pairs of range and null space are `(I - U U^T) G U`.

    Attributes:
        function: What is done to the eigenvalues.
        rule: How the gradient table is filled.
        dtype: Of the computation.
        centered: Subtract the mean over positions first.
        top_n: Keep only so many eigenvalues.
        full: Decompose `X X^T` even where `X^T X` is smaller.
        on_host: Decompose on the CPU, wherever the features are.
    """

    function: SpectralFunction
    rule: GradientRule
    dtype: torch.dtype = torch.float64
    centered: bool = True
    top_n: int | None = None
    full: bool = False
    on_host: bool = False

    def _by_positions(self, rows: int, columns: int) -> bool:
        return columns < rows and not self.full

    def output_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return (rows * (rows + 1) // 2,)

    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        if self._by_positions(rows, columns):
            return (columns,), (rows, columns), (columns, columns)
        return (rows,), (rows, rows)

    def _features(self, x: Tensor) -> Tensor:
        return center(x) if self.centered else x * x.shape[-1] ** -0.5

    def _spectrum(self, nonzero: Tensor) -> Tensor:
        """The spectrum that functions and rules see, led by a zero that stands for the whole null space."""
        kept = keep_largest(nonzero, self.top_n)
        return torch.cat([torch.zeros_like(kept[..., :1]), kept], -1)

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        rows, columns = x.shape[-2:]
        features = self._features(x)
        if self._by_positions(rows, columns):
            eigenvalues, v = decompose(features.mT @ features, self.on_host)
            nonzero = nonzero_spectrum(eigenvalues, rows)
            saved[2].copy_(v)
            inverse = torch.where(nonzero > 0, nonzero, torch.inf).rsqrt()
            torch.bmm(features, v * inverse.unsqueeze(-2), out=saved[1])
        else:
            eigenvalues, u = decompose(features @ features.mT, self.on_host)
            nonzero = nonzero_spectrum(eigenvalues, max(rows, columns))
            saved[1].copy_(u)
        saved[0].copy_(nonzero)
        u = saved[1]
        images = self.function.value(self._spectrum(nonzero))
        scaled = u * (images[..., 1:] - images[..., :1]).unsqueeze(-2)
        output.copy_(upper_triangle_of_product(scaled, u, images[..., :1]))

    def backward(self, upstream: Tensor, x: Tensor, *saved: Tensor) -> Tensor:
        rows, columns = x.shape[-2:]
        nonzero, u = saved[0], saved[1]
        spectrum = self._spectrum(nonzero)
        gradient = self.rule.table(spectrum, self.function.value(spectrum), self.function)
        to_null = gradient.table[..., :1, 1:]
        g_u = symmetric_from_upper_triangle(upstream, rows) @ u
        h = u.mT @ g_u
        left = g_u.mul_(to_null).baddbmm_(u, gradient.within_range().apply(h))
        scale: float = 2 * columns**-0.5
        if self._by_positions(rows, columns):
            return left.mul_((scale * nonzero.sqrt()).unsqueeze(-2)) @ saved[2].mT
        return left @ (u.mT @ self._features(x)).mul_(scale)

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        """Of `2 Y X` with `Y = D * G`, from the `C x C` decomposition: null space and range take part in it."""
        if not has_second_derivative(self.function, self.rule, self.top_n):
            return super().double_backward(direction, upstream, x, *saved)
        features, toward = self._features(x), self._features(direction)
        eigenvalues, u = decompose(features @ features.mT, self.on_host)
        spectrum = nonzero_spectrum(eigenvalues, max(x.shape[-2:]))
        g = u.mT @ symmetric_from_upper_triangle(upstream, x.shape[-2]) @ u
        in_basis = u.mT @ features
        e = (u.mT @ toward) @ in_basis.mT
        by_upstream, by_p = second_derivative_of_root(e + e.mT, g, spectrum)
        y = sqrt().gradient(spectrum).table * g
        by_features = 2 * u @ (by_p @ in_basis + y @ (u.mT @ toward))
        return upper_triangle(u @ by_upstream @ u.mT), self._features(by_features)
