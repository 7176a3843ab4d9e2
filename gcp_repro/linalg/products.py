"""Covariance pooling by matrix products alone on the smaller Gram matrix, for devices where eigendecompositions are slow.

With `M = X^T X / trace` (N x N) and Newton-Schulz iterates that are polynomials of it, `Z_k -> M^(-1/2)` on the range of `M`, and
the root of the covariance is `Q = X Z X^T / sqrt(trace)`. A fixed number of steps gives iSQRT-COV; iterated to convergence it
gives the root itself, and the derivative of the iteration its exact gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg.autograd import Operator, differentiate_twice
from gcp_repro.linalg.covariance import center, upper_triangle
from gcp_repro.linalg.spectral import require_finite

__all__ = ["ProductsPooling"]

MAX_ITERATIONS = 60  # brings eigenvalues of 1e-20 of the trace to convergence


@dataclass(frozen=True)
class ProductsPooling(Operator):
    """Upper triangle of the root of the covariance, by products of `n x n` matrices with `n = min(C, N)`.

    The backward computes the forward again and differentiates it, so nothing is kept in between.

    Attributes:
        num_iterations: Newton-Schulz steps (iSQRT-COV); `None` iterates until the residual `||I - Z Y||` stops falling,
            which is the root with its exact gradient, as long as the condition number on the range is below about 1e12.
        dtype: Of the computation.
    """

    num_iterations: int | None = None
    dtype: torch.dtype = torch.float64

    def output_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return (rows * (rows + 1) // 2,)

    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        return ()

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        output.copy_(self._pool(x))

    def backward(self, upstream: Tensor, x: Tensor, *saved: Tensor) -> Tensor:
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self._pool(x), x, upstream)
        return gradient

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate the iteration twice."""
        return differentiate_twice(self._pool, direction, upstream, x)

    def _pool(self, x: Tensor) -> Tensor:
        features = center(x)
        by_positions = x.shape[-1] < x.shape[-2]
        gram = features.mT @ features if by_positions else features @ features.mT
        require_finite(gram.detach())
        trace = gram.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]
        trace = torch.where(trace > 0, trace, torch.inf)
        y, z = self._iterate(gram / trace)
        if by_positions:
            return upper_triangle(features @ z @ features.mT / trace.sqrt())
        return upper_triangle(y * torch.where(trace.isfinite(), trace, 0.0).sqrt())

    def _iterate(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """`Y_k` and `Z_k`, eq. 7, on the range of `a`."""
        eye = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device)
        y, z = a, eye.expand_as(a)
        residual = torch.inf
        for _ in range(self.num_iterations or MAX_ITERATIONS):
            product = z @ y
            if self.num_iterations is None:
                # Y (I - Z Y) vanishes on the null space, where Z Y stays 0
                change = float((y - y @ product).detach().abs().max())
                if change >= 0.5 * residual and change < 1e-7:
                    break
                residual = change
            step = 1.5 * eye - 0.5 * product
            y, z = y @ step, step @ z
        return y, z
