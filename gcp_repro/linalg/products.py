"""Covariance pooling by matrix products alone on the smaller Gram matrix, for devices where eigendecompositions are slow.

With `M = X^T X / trace` (N x N) and Newton-Schulz iterates that are polynomials of it, `Z_k -> M^(-1/2)` on the range of `M`, and
the root of the covariance is `Q = X Z X^T / sqrt(trace)`. A fixed number of steps gives iSQRT-COV; iterated to convergence it
gives the root itself, and the derivative of the iteration its exact gradient.

A step multiplies small eigenvalues by 2.25, those that are rounding noise too. Where the noise would grow to matter before the
range has converged, the matrices are decomposed instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import center, upper_triangle
from gcp_repro.linalg.decomposition import require_finite
from gcp_repro.linalg.functions import sqrt
from gcp_repro.linalg.gradient_rules import gradient_rule
from gcp_repro.linalg.matrices import (
    divisor,
    identity_like,
    newton_schulz_iteration,
    newton_schulz_step,
    newton_schulz_steps,
    trace,
)
from gcp_repro.linalg.recomputed import Recomputed
from gcp_repro.linalg.spectral import SpectralPooling

__all__ = ["ProductsPooling"]

LARGEST_NOISE = 1e-3  # share of its way to 1 that rounding noise may have gone when the range has converged


class _NotConvergedError(Exception):
    """The range is too ill-conditioned for the iteration."""


@dataclass(frozen=True)
class ProductsPooling(Recomputed):
    """Upper triangle of the root of the covariance, by products of `n x n` matrices with `n = min(C, N)`.

    Attributes:
        num_iterations: Newton-Schulz steps (iSQRT-COV); `None` iterates to convergence, which is the root with its exact
            gradient. In float64 that takes condition numbers on the range of up to about 1e9, in float32 hardly any; beyond
            them a chunk with such an image is decomposed.
        dtype: Of the computation.
    """

    num_iterations: int | None = None
    dtype: torch.dtype = torch.float64

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        try:
            super().forward(x, output)
        except _NotConvergedError:
            self._decompose(x, output)

    def backward(self, upstream: Tensor, x: Tensor, gradient: Tensor, *saved: Tensor) -> None:
        try:
            super().backward(upstream, x, gradient)
        except _NotConvergedError:
            x = x.detach()
            self._decomposition.backward(upstream, x, gradient, *self._decompose(x, torch.empty_like(upstream)))

    def tangent(self, direction: Tensor, x: Tensor, tangent: Tensor, *saved: Tensor) -> None:
        try:
            super().tangent(direction, x, tangent)
        except _NotConvergedError:
            output = x.new_empty(len(x), *self.output_shape(*x.shape[-2:]), dtype=self.dtype)
            self._decomposition.tangent(direction, x, tangent, *self._decompose(x, output))

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate the iteration twice; the root decomposes."""
        if self.num_iterations is None:
            return self._decomposition.double_backward(direction, upstream, x)
        return super().double_backward(direction, upstream, x)

    @property
    def _decomposition(self) -> SpectralPooling:
        return SpectralPooling(sqrt(), gradient_rule("exact"), self.dtype)

    def _decompose(self, x: Tensor, output: Tensor) -> list[Tensor]:
        """Write the root's upper triangle by decomposition; return what its backward needs."""
        shapes = self._decomposition.saved_shapes(*x.shape[-2:])
        saved = [x.new_empty(len(x), *shape, dtype=self.dtype) for shape in shapes]
        self._decomposition.forward(x, output, *saved)
        return saved

    def pool(self, x: Tensor) -> Tensor:
        features = center(x)
        by_positions = x.shape[-1] < x.shape[-2]
        gram = features.mT @ features if by_positions else features @ features.mT
        require_finite(gram.detach())
        size = divisor(trace(gram))
        a = gram / size
        y, z = _converged(a) if self.num_iterations is None else newton_schulz_iteration(a, self.num_iterations)
        return upper_triangle(features @ z @ features.mT / size.sqrt() if by_positions else y * size.sqrt())


def _converged(a: Tensor) -> tuple[Tensor, Tensor]:
    """The limits of the Newton-Schulz iteration (`matrices.newton_schulz_iteration`), on the range of `a`.

    Raises:
        _NotConvergedError: Rounding noise has grown too far for the range to converge.
    """
    identity = identity_like(a)
    y, z, product = a, identity, a.clone()
    noise: float = 4 * a.shape[-1] * torch.finfo(a.dtype).eps  # eigenvalues below this count as zero, as in a decomposition
    while noise <= LARGEST_NOISE:
        nearly = _unresolved(product) <= noise
        step = newton_schulz_step(product, identity)
        y, z = y @ step, step @ z
        if nearly:
            return newton_schulz_steps(y, z, 2)  # convergence is quadratic: to full precision
        product, noise = z @ y, 2.25 * noise
    raise _NotConvergedError


def _unresolved(product: Tensor) -> float:
    """The largest `sum w (1 - w)` in a batch, `w` the eigenvalues of the nearly symmetric `Z Y`, each on its way from 0 to 1."""
    product = product.detach()
    total = trace(product) - product.square().sum((-2, -1), keepdim=True)
    return float(total.abs().max())
