"""The Newton-Schulz iteration for the matrix square root, by matrix products alone (eqs. 7 to 10 of the paper).

This is the published order of operations (iSQRT-COV, Li et al., CVPR 2018), and `solver="products"` on route `dense`. The same
function of the matrix, evaluated on eigenvalues, is `functions.newton_schulz`; on a CPU that is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import center, symmetric_from_upper_triangle, upper_triangle
from gcp_repro.linalg.decomposition import require_finite
from gcp_repro.linalg.machinery.operator import Operator
from gcp_repro.linalg.matrices import divisor, newton_schulz_backward, newton_schulz_iterates, pairs

__all__ = ["NewtonSchulzPooling"]


@dataclass(frozen=True)
class NewtonSchulzPooling(Operator):
    """Upper triangle of the root of the covariance by `num_iterations` Newton-Schulz steps on the full matrix (route `dense`).

    Kept for the backward: the iterates `Y_1 ... Y_{K-1}`, `Z_1 ... Z_{K-1}`.

    Attributes:
        num_iterations: K.
        dtype: Of the computation.
    """

    num_iterations: int
    dtype: torch.dtype = torch.float64
    temporaries = 2

    def output_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return (rows * (rows + 1) // 2,)

    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        return [(rows, rows)] * (2 * (self.num_iterations - 1))

    def _covariance(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`X I_bar` and the covariance `P = X I_bar X^T`; a gradient `G` of `P` is `(G + G^T) X I_bar` for `X`."""
        features = center(x)
        matrix = features @ features.mT
        return features.mul_(x.shape[-1] ** -0.5), matrix

    def _normalised(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`X I_bar`, the trace of `P`, and `A = P / trace` (0 for a zero matrix)."""
        centered, matrix = self._covariance(x)
        require_finite(matrix)
        diagonal = 3 * matrix.diagonal(dim1=-2, dim2=-1)  # of P * 3 I: the published order, to the last bit
        trace = (1 / 3) * diagonal.sum(-1)[..., None, None]
        return centered, trace, matrix / divisor(trace)

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        _, trace, a = self._normalised(self.widened(x))
        y, _, step = newton_schulz_iterates(a, pairs(saved))
        output.copy_(upper_triangle((y @ step).mul_(trace.sqrt())))

    def backward(self, upstream: Tensor, x: Tensor, gradient: Tensor, *saved: Tensor) -> None:
        """Reverse the iteration; every iterate is symmetric."""
        centered, trace, a = self._normalised(self.widened(x))
        g = symmetric_from_upper_triangle(upstream.to(a.dtype), x.shape[-2])
        by_a, root = newton_schulz_backward(a, pairs(saved), g * trace.sqrt(), None)
        inverse = divisor(trace).reciprocal()
        by_trace = 0.5 * inverse.sqrt() * (g * root).sum((-2, -1), keepdim=True)
        by_trace = by_trace - inverse * (by_a * a).sum((-2, -1), keepdim=True)
        by_p = by_a * inverse
        by_p.diagonal(dim1=-2, dim2=-1).add_(by_trace.squeeze(-1))
        gradient.copy_((by_p + by_p.mT) @ centered)
