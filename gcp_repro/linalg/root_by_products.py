"""The root of the covariance and its exact gradient by matrix products alone: Newton-Schulz iterations until they have converged.

A step maps every eigenvalue `w` of `Z Y` to `s^2 w` with `s = (3 - w) / 2`, towards 1: small ones, those that are rounding noise
too, to 2.25 times themselves. Where the smallest is known, scaled steps `s = r (3 - r^2 w) / 2` multiply by up to 6.75. Where
noise would grow to matter before the range has converged, the matrices are decomposed instead.

Source:
    Chen and Chow, "A stable scaling of Newton-Schulz for improving the sign function computation of a Hermitian matrix", 2014,
    for the scale; Higham, "Functions of Matrices", 2008, eq. 5.35 and section 6.1, for the sign function that solves a Lyapunov
    equation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import center, symmetric_from_upper_triangle, upper_triangle
from gcp_repro.linalg.functions import sqrt
from gcp_repro.linalg.gradient_rules import gradient_rule
from gcp_repro.linalg.matrices import identity_like, trace
from gcp_repro.linalg.products import ProductsPooling, normalised
from gcp_repro.linalg.spectral import SpectralPooling

__all__ = ["RootByProducts"]

LARGEST_NOISE = 1e-3  # share of its way to 1 that rounding noise may have gone when the range has converged
NEARLY = 1e-2  # from 1, where a few more steps arrive at full precision: convergence is quadratic
STEPS_LEFT = 3


class _NotConvergedError(Exception):
    """The range is too ill-conditioned for the iteration."""


@dataclass(frozen=True)
class RootByProducts(ProductsPooling):
    """Upper triangle of the root of the covariance, with its exact gradient.

    In float64 the iteration takes condition numbers on the range of up to about 1e8 (`n` of 169; 1e9 for 49), in float32 hardly
    any; beyond them a chunk with such an image is decomposed.

    Kept for the backward: `Y`, `Z` where `Q` is made of it, and what is known of the smallest eigenvalue (NaN: decomposed).

    Attributes:
        dtype: Of the computation.
    """

    dtype: torch.dtype = torch.float64

    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        size = min(rows, columns)
        roots = [(size, size)] * (2 if columns <= rows else 1)
        return [(1, 1), *roots]

    def iterate(self, a: Tensor, by_positions: bool, *saved: Tensor) -> Tensor:
        if by_positions:  # centred features have the null vector 1: its eigenvalue may be anything, and as 1 hides no smallest
            a = a + 1 / a.shape[-1]
        lowest = saved[0].copy_(_smallest_root(a))
        y, z = _roots(a, lowest)
        for kept, root in zip(saved[1:], (y, z), strict=False):
            kept.copy_(root)
        return z if by_positions else y

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        try:
            super().forward(x, output, *saved)
        except _NotConvergedError:
            saved[0].fill_(torch.nan)
            self._decompose(x, output)

    def backward(self, upstream: Tensor, x: Tensor, gradient: Tensor, *saved: Tensor) -> None:
        try:
            gradient.copy_(self._gradient(upstream, self.widened(x), *_converged(saved)))
        except _NotConvergedError:
            self._decomposition.backward(upstream, x, gradient, *self._decompose(x, torch.empty_like(upstream)))

    def tangent(self, direction: Tensor, x: Tensor, tangent: Tensor, *saved: Tensor) -> None:
        try:
            tangent.copy_(self._tangent(direction.to(self.dtype), self.widened(x), *_converged(saved)))
        except _NotConvergedError:
            self._decomposition.tangent(direction, x, tangent, *self._decompose(x, torch.empty_like(tangent)))

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        """Decomposes."""
        return self._decomposition.double_backward(direction, upstream, x)

    def _gradient(self, upstream: Tensor, x: Tensor, lowest: Tensor, y: Tensor, z: Tensor | None = None) -> Tensor:
        """`2 D X` with `Q D + D Q = G`; by positions `2 (G W + W (E Y - H))` with `H = W^T G W` and `Y E + E Y = H`.

        `W = X Z / sqrt(t)` is the polar factor of `X`, an isometry onto the range of `Q`.
        """
        features, size, _ = normalised(x)
        g = symmetric_from_upper_triangle(upstream.to(x.dtype), x.shape[-2])
        if z is None:
            return center(2 * _solve_lyapunov(y, g, lowest) @ features / size.sqrt())
        w = features @ z / size.sqrt()
        g_w = g @ w
        h = w.mT @ g_w
        return center(2 * (g_w + w @ (_solve_lyapunov(y, h, lowest) @ y - h)))

    def _tangent(self, direction: Tensor, x: Tensor, lowest: Tensor, y: Tensor, z: Tensor | None = None) -> Tensor:
        """The transpose of `_gradient`."""
        features, size, _ = normalised(x)
        toward = center(direction)
        if z is None:
            return upper_triangle(_solve_lyapunov(y, _twice_symmetric(toward @ features.mT), lowest) / size.sqrt())
        w = features @ z / size.sqrt()
        k = w.mT @ toward
        along = _solve_lyapunov(y, _twice_symmetric(k @ y), lowest) - _twice_symmetric(k)
        return upper_triangle(_twice_symmetric(toward @ w.mT) + w @ along @ w.mT)

    @property
    def _decomposition(self) -> SpectralPooling:
        return SpectralPooling(sqrt(), gradient_rule("exact"), self.dtype)

    def _decompose(self, x: Tensor, output: Tensor) -> list[Tensor]:
        """Write the root's upper triangle by decomposition; return what its backward needs."""
        shapes = self._decomposition.saved_shapes(*x.shape[-2:])
        saved = [x.new_empty(len(x), *shape, dtype=self.dtype) for shape in shapes]
        self._decomposition.forward(x, output, *saved)
        return saved


def _converged(saved: Sequence[Tensor]) -> Sequence[Tensor]:
    """What was kept.

    Raises:
        _NotConvergedError: The forward decomposed, and kept nothing.
    """
    if bool(saved[0].isnan().any()):
        raise _NotConvergedError
    return saved


def _twice_symmetric(matrix: Tensor) -> Tensor:
    return matrix + matrix.mT


def _noise(a: Tensor) -> float:
    """Eigenvalues below this count as zero, as in a decomposition."""
    return 4 * a.shape[-1] * torch.finfo(a.dtype).eps


def _smallest_root(a: Tensor) -> Tensor:
    """A lower bound of `A^(1/2)`'s eigenvalues, `(b, 1, 1)`; 1 where there is none, or none above the noise.

    The trace of the inverse is at least the reciprocal of the smallest eigenvalue, and the squared norm of its triangular factor.
    """
    factor, failed = torch.linalg.cholesky_ex(a)
    inverse = torch.linalg.solve_triangular(factor, identity_like(a), upper=False)
    bound = inverse.square().sum((-2, -1), keepdim=True).reciprocal()
    known = (failed == 0)[..., None, None] & (bound * LARGEST_NOISE >= _noise(a))
    return torch.where(known, bound.sqrt(), 1.0)


def _roots(a: Tensor, lowest: Tensor) -> tuple[Tensor, Tensor]:
    """`A^(1/2)` and `A^(-1/2)` on the range of `A`, by coupled Newton-Schulz steps (eq. 7), scaled."""
    y, z, identity = a, identity_like(a), identity_like(a)

    def product() -> Tensor:
        return z @ y

    def advance(product: Tensor, scale: Tensor, going: Tensor) -> None:
        nonlocal y, z
        step = torch.where(going, _scaled_step(product, identity, scale), identity)
        y, z = y @ step, step @ z

    _until_resolved(product, advance, lowest, _noise(a))
    return y, z


def _solve_lyapunov(y: Tensor, c: Tensor, lowest: Tensor) -> Tensor:
    """`D` with `Y D + D Y = C` but for pairs of null vectors, where it is 0: from the sign of `[[Y, C], [0, -Y]]`.

    Its iteration takes the eigenvalues of `Y` the way that `_roots` took them, in as many steps of five products.

    Args:
        y: Of `_roots`, `(b, n, n)`.
        c: Symmetric.
        lowest: As `_smallest_root` said.
    """
    b, identity = y, identity_like(y)

    def product() -> Tensor:
        return b @ b

    def advance(product: Tensor, scale: Tensor, going: Tensor) -> None:
        nonlocal b, c
        b_c = b @ c
        cubic = _twice_symmetric(torch.baddbmm(b @ b_c, b_c, b, alpha=-0.5))  # what is not symmetric would grow
        c = torch.where(going, scale * (1.5 * c - 0.5 * scale.square() * cubic), c)
        b = b @ torch.where(going, _scaled_step(product, identity, scale), identity)

    _until_resolved(product, advance, lowest, _noise(y))
    onto_range = b @ c
    return _twice_symmetric(torch.baddbmm(onto_range, onto_range, b, alpha=-0.75))


def _scaled_step(product: Tensor, identity: Tensor, scale: Tensor) -> Tensor:
    return (-0.5 * scale.pow(3)) * product + 1.5 * scale * identity


def _until_resolved(
    product: Callable[[], Tensor], advance: Callable[[Tensor, Tensor, Tensor], None], lowest: Tensor, noise: float
) -> None:
    """Advance every image until all eigenvalues of its product are 0 or 1, and no further: noise would grow.

    Args:
        product: Gives `Z Y` or `B^2` as it is.
        advance: Takes a step from it, with a scale `(b, 1, 1)`, for the images that are still going, `(b, 1, 1)`.
        lowest: As `_smallest_root` said.
        noise: Eigenvalues of the first product below this count as zero.

    Raises:
        _NotConvergedError: Rounding noise has grown too far for the range of an image to converge.
    """
    known = lowest < 1
    left = torch.full_like(lowest, STEPS_LEFT)
    resolved = torch.zeros_like(known)
    while noise <= LARGEST_NOISE:
        found = product()
        resolved = resolved | torch.where(known, 1 - lowest.square() <= NEARLY, _is_resolved(found, noise))
        last = bool(resolved.all())
        for turn in range(STEPS_LEFT if last else 1):
            going = left > 0
            scale, after = _best_step(lowest)
            advance(product() if turn else found, scale, going)
            lowest, left = torch.where(going, after, lowest), left - resolved.to(left.dtype)
        if last:
            return
        noise *= 2.25
    raise _NotConvergedError


def _best_step(lowest: Tensor) -> tuple[Tensor, Tensor]:
    """The scale that takes the smallest and the largest root, `lowest` and 1, to the same number, and that number."""
    scale = (3 / (1 + lowest + lowest.square())).sqrt()
    return scale, 0.5 * scale * lowest * (3 - (scale * lowest).square())


def _is_resolved(product: Tensor, noise: float) -> Tensor:
    """Whether the eigenvalues `w` of the nearly symmetric product, between 0 and 1, are at one of these: by `sum w (1 - w)`."""
    unresolved = trace(product) - product.square().sum((-2, -1), keepdim=True)
    return unresolved.abs() <= noise
