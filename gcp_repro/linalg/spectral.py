"""Operators made of one decomposition: a function of a matrix, and covariance pooling on both routes.

Notation as in `docs/mathematics.md`: `X` features less their mean, divided by `sqrt(N)`; `P = X X^T = U diag(l) U^T`; `Q = f(P)`;
`G` the symmetric gradient of the loss with respect to `Q`; `H = U^T G U`; `M` what the gradient rule makes of `H`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import (
    contrasts,
    count_contrasts,
    symmetric_from_upper_triangle,
    twice_symmetric_from_upper_triangle,
    upper_triangle,
    write_features,
    write_upper_triangle_of_product,
)
from gcp_repro.linalg.decomposition import (
    Kept,
    check_semi_definite,
    decompose,
    decompose_gram,
    keep_largest,
    nonzero_spectrum,
    number_kept,
    require_finite,
    singular_values,
)
from gcp_repro.linalg.functions import sqrt
from gcp_repro.linalg.gradient_rules import GradientRule
from gcp_repro.linalg.machinery.operator import Operator
from gcp_repro.linalg.machinery.options import check_option
from gcp_repro.linalg.machinery.scratch import scratch
from gcp_repro.linalg.spectral_function import GradientTable, SpectralFunction

__all__ = ["MatrixFunction", "SpectralPooling"]


def has_second_derivative(function: SpectralFunction, rule: GradientRule, top_n: Kept) -> bool:
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
        top_n: Keep only the largest eigenvalues: their number, or a share of them in (0, 1).

    Raises:
        OptionError: `top_n` is out of range.
    """

    function: SpectralFunction
    rule: GradientRule
    dtype: torch.dtype = torch.float64
    top_n: Kept = None

    def __post_init__(self) -> None:
        top_n = check_option("matrix_sqrt", "top_n", self.top_n, Kept, "leave it out to keep all eigenvalues")
        object.__setattr__(self, "top_n", top_n)  # in the type that the annotation names

    def output_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return rows, rows

    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        return (rows,), (rows, rows)

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        eigenvalues, eigenvectors = decompose(self.widened(x))
        check_semi_definite(eigenvalues, x.dtype)
        kept = number_kept(self.top_n, x.shape[-1])
        spectrum = keep_largest(nonzero_spectrum(eigenvalues, x.shape[-1]), kept)
        saved[0].copy_(spectrum)
        saved[1].copy_(eigenvectors)
        images = self.function.value(spectrum)
        output.copy_((eigenvectors * images.unsqueeze(-2)) @ eigenvectors.mT)

    def backward(self, upstream: Tensor, x: Tensor, gradient: Tensor, *saved: Tensor) -> None:
        spectrum, u = saved
        upstream = self.widened(upstream)
        h = u.mT @ (0.5 * (upstream + upstream.mT)) @ u
        table = self.rule.table(spectrum, self.function.value(spectrum), self.function)
        gradient.copy_(u @ table.apply_(h) @ u.mT)

    def tangent(self, direction: Tensor, x: Tensor, tangent: Tensor, *saved: Tensor) -> None:
        spectrum, u = saved
        direction = self.widened(direction)
        e = u.mT @ (0.5 * (direction + direction.mT)) @ u
        table = self.rule.table(spectrum, self.function.value(spectrum), self.function)
        tangent.copy_(u @ table.transposed().apply_(e) @ u.mT)

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        if not has_second_derivative(self.function, self.rule, self.top_n):
            return super().double_backward(direction, upstream, x, *saved)
        spectrum, u = saved
        e, g = (u.mT @ (0.5 * (m + m.mT)) @ u for m in (direction.to(u.dtype), upstream.to(u.dtype)))
        by_upstream, by_p = second_derivative_of_root(e, g, spectrum)
        return u @ by_upstream @ u.mT, u @ by_p @ u.mT


@dataclass(frozen=True)
class SpectralPooling(Operator):
    """Upper triangle of `f(X X^T)` from features, rank-aware: by the thin singular value decomposition of `X`.

    The null space of `P` is never formed. Where `U` holds the eigenvectors of the range only, pairs within the null space drop
    out of the gradient because `U0^T X = 0`, and pairs of range and null space are `(I - U U^T) G U`.

    Attributes:
        function: What is done to the eigenvalues.
        rule: How the gradient table is filled.
        dtype: Of the decomposition and of tables.
        centered: Subtract the mean over positions first.
        top_n: Keep only so many eigenvalues.
        full: Decompose `X X^T` even where `X^T X` is smaller.
        on_host: Decompose on the CPU, wherever the features are.
        product_dtype: Of the products that have no part in the decomposition, and of what is kept for them; `None` is `dtype`.
        direct: Decompose `X` itself, instead of the smaller of `X^T X` and `X X^T`.
    """

    function: SpectralFunction
    rule: GradientRule
    dtype: torch.dtype = torch.float64
    centered: bool = True
    top_n: int | None = None
    full: bool = False
    on_host: bool = False
    product_dtype: torch.dtype | None = None
    direct: bool = False

    @property
    def _products(self) -> torch.dtype:
        return self.product_dtype or self.dtype

    def _sizes(self, rows: int, columns: int) -> tuple[int, int, bool]:
        """Columns of `Z`, those of `U`, and whether `V^T` is kept: where it is smaller than `U` or cannot be had from it."""
        columns = count_contrasts(columns) if self.centered else columns
        keeps_v = self.direct or self._products != self.dtype or self._by_positions(rows, columns)
        return columns, min(rows, columns), keeps_v

    def _by_positions(self, rows: int, columns: int) -> bool:
        return columns < rows and not self.full

    def output_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return (rows * (rows + 1) // 2,)

    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        columns, rank, keeps_v = self._sizes(rows, columns)
        shapes = (rank,), (rows, rank), (rank, columns)
        return shapes if keeps_v else shapes[:2]

    def saved_dtype(self, index: int) -> torch.dtype:
        return self.dtype if index == 0 else self._products

    def _unscaled(self, x: Tensor) -> Tensor:
        """`Z` with `Z Z^T = N P`, in `dtype`."""
        if not self.centered:
            return self.widened(x)
        if self.direct:  # a large mean is taken away first, so that its rounding error is taken away with the rest
            x = x.to(self.dtype)
            x = x - x.mean(-1, keepdim=True)
        return contrasts(x, self.dtype)

    def spectrum(self, x: Tensor) -> Tensor:
        """Eigenvalues that functions and rules see for features `(b, C, N)`: a zero for the null space, others ascending."""
        squares = self._decompose(self._unscaled(x), max(x.shape[-2:]))[0]
        return self._with_null_space(squares / x.shape[-1])

    def _with_null_space(self, nonzero: Tensor) -> Tensor:
        """The spectrum that functions and rules see, led by a zero that stands for the whole null space."""
        kept = keep_largest(nonzero, self.top_n)
        return torch.cat([kept.new_zeros(*kept.shape[:-1], 1), kept], -1)

    def _decompose(self, z: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor | None]:
        """Squares of the singular values of `Z`, ascending, without rounding noise; `U`; and `V^T` unless `U` was found first."""
        if self.direct:
            u, s, vt = singular_values(z, self.on_host)
            squares = s * s
            require_finite(squares)
            return nonzero_spectrum(squares, size, squared=True), u, vt
        if self._by_positions(*z.shape[-2:]):
            squares, v = decompose_gram(z, True, self.on_host)
            squares, vt = nonzero_spectrum(squares, size), v.mT
            scaled = torch.mul(vt, _inverse_root(squares).unsqueeze(-1), out=scratch("gram", z, *vt.shape))
            return squares, torch.bmm(z, scaled.mT, out=scratch("left", z, *z.shape[:2], z.shape[-1])), vt
        squares, u = decompose_gram(z, False, self.on_host)
        first = u.shape[-1] - min(z.shape[-2:])
        return nonzero_spectrum(squares, size)[..., first:], u[..., first:], None

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        z = self._unscaled(x)
        squares, u, vt = self._decompose(z, max(x.shape[-2:]))
        if len(saved) == 3:
            saved[2].copy_((u * _inverse_root(squares).unsqueeze(-2)).mT @ z if vt is None else vt)
        torch.div(squares, x.shape[-1], out=saved[0])
        u = saved[1].copy_(u)
        images = self.function.value(self._with_null_space(saved[0])).to(u.dtype)
        scaled = torch.mul(u, (images[..., 1:] - images[..., :1]).unsqueeze(-2), out=scratch("scaled", u, *u.shape))
        write_upper_triangle_of_product(scaled, u, images[..., :1], output)

    def backward(self, upstream: Tensor, x: Tensor, gradient: Tensor, *saved: Tensor) -> None:
        right, to_null, within_range = self._derivative(x, *saved)
        u = saved[1]
        matrix = twice_symmetric_from_upper_triangle(upstream, x.shape[-2], u.dtype)
        g_u = torch.bmm(matrix, u, out=scratch("scaled", u, *u.shape))
        h = torch.bmm(u.mT, g_u, out=scratch("gram", u, len(u), u.shape[-1], u.shape[-1]))
        left = g_u.mul_(to_null).baddbmm_(u, within_range.apply_(h))
        by_z = torch.bmm(left, right, out=scratch("contrasts", left, *left.shape[:2], right.shape[-1]))
        write_features(by_z, gradient) if self.centered else gradient.copy_(by_z)

    def tangent(self, direction: Tensor, x: Tensor, tangent: Tensor, *saved: Tensor) -> None:
        """The transpose of `backward`, step by step."""
        right, to_null, within_range = self._derivative(x, *saved)
        u = saved[1]
        along = self._unscaled(direction).to(u.dtype) @ right.mT
        left = along * to_null + u @ within_range.transposed().apply_(u.mT @ along)
        product = left @ u.mT
        tangent.copy_(upper_triangle(product + product.mT))

    def _derivative(self, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor, GradientTable]:
        """`R` and the table such that `U M R`, with `M` that of `H`, is the gradient with respect to `Z`; see `within_range`."""
        nonzero, u = saved[:2]
        if len(saved) == 3:
            right, scale = saved[2], nonzero.sqrt() * x.shape[-1] ** -0.5
        else:
            right = u.mT @ self._unscaled(x)
            scale = torch.full_like(nonzero, 1 / x.shape[-1])
        spectrum = self._with_null_space(nonzero)
        table = self.rule.table(spectrum, self.function.value(spectrum), self.function)
        return right, *table.within_range(scale, u.dtype)

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        """Of `2 Y X` with `Y = D * G`, from the `C x C` decomposition: null space and range take part in it."""
        if not has_second_derivative(self.function, self.rule, self.top_n):
            return super().double_backward(direction, upstream, x, *saved)
        scale: float = x.shape[-1] ** -0.5
        features, toward = self._unscaled(x) * scale, self._unscaled(direction) * scale
        eigenvalues, u = decompose_gram(features, False, self.on_host)
        spectrum = nonzero_spectrum(eigenvalues, max(x.shape[-2:]))
        g = u.mT @ symmetric_from_upper_triangle(upstream.to(self.dtype), x.shape[-2]) @ u
        in_basis = u.mT @ features
        e = (u.mT @ toward) @ in_basis.mT
        by_upstream, by_p = second_derivative_of_root(e + e.mT, g, spectrum)
        y = sqrt().gradient(spectrum).table * g
        by_z = (2 * scale) * u @ (by_p @ in_basis + y @ (u.mT @ toward))
        by_x = torch.empty_like(x, dtype=self.dtype)
        write_features(by_z, by_x) if self.centered else by_x.copy_(by_z)
        return upper_triangle(u @ by_upstream @ u.mT), by_x


def _inverse_root(squares: Tensor) -> Tensor:
    """`l^(-1/2)`, and 0 for 0."""
    return torch.where(squares > 0, squares, torch.inf).rsqrt()
