"""The arithmetic of the public code, to the last bit: how its code bases compute, and the operators that do it so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import upper_triangle
from gcp_repro.linalg.decomposition import keep_largest, require_finite
from gcp_repro.linalg.newton_schulz import NewtonSchulzPooling
from gcp_repro.linalg.published import PublishedPooling

__all__ = [
    "CODE_BASES",
    "DIFFERENTIABLE_SVD",
    "FAST_MPN_COV",
    "RIEMGCP",
    "AuthorsNewtonSchulz",
    "AuthorsPooling",
    "published_center",
]

DIFFERENTIABLE_SVD = "DifferentiableSVD"
"""A code base, that of the paper."""
FAST_MPN_COV = "fast-MPN-COV"
"""That of iSQRT-COV."""
RIEMGCP = "RiemGCP"
"""That of Chen et al., ICLR 2025."""

CODE_BASES: Mapping[str, Mapping[str, Any]] = {
    name: {"route": "dense", "dtype": dtype, "float32_centering": True}
    for name, dtype in ((DIFFERENTIABLE_SVD, "float64"), (FAST_MPN_COV, "float32"), (RIEMGCP, "float64"))
}
"""Options of a `PoolingSpec` by the code base whose arithmetic they are: all have the same order of operations and centring."""


def published_center(features: Tensor) -> Tensor:
    """`X I_bar` of eq. 1 as the public code computes it: a product with the centring matrix, which is rounded to float32.

    With `X = features`, `(..., C, N)`, the covariance is `(X I_bar) X^T`. In float64 the rounding leaves some 1e-8 of the
    mean's energy behind.
    """
    size = features.shape[-1]
    ones, eye = torch.ones(size, size, device=features.device), torch.eye(size, device=features.device)
    return features @ ((-1.0 / size / size) * ones + (1.0 / size) * eye).to(features.dtype)


@dataclass(frozen=True)
class AuthorsPooling(PublishedPooling):
    """The SVD layers of DifferentiableSVD: with the centring matrix rounded to float32, and by `svd` instead of `eigh`.

    The rounding leaves a covariance that may be indefinite and whose null space is noise; the singular value decomposition
    takes the absolute values of its eigenvalues. That noise reaches the output, by its root about 1e-8 of it, so that only
    the same decomposition gives the same bits.

    Source:
        github.com/KingJamesSong/DifferentiableSVD, the forward pass of all `SVD_*.py`.
    """

    def _times_centering(self, x: Tensor) -> Tensor:
        return published_center(x)

    def _decompose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        matrix = published_center(x) @ x.mT
        require_finite(matrix)
        _, descending, vh = torch.linalg.svd(matrix.cpu() if self.on_host else matrix, full_matrices=False)
        floor = torch.finfo(self.dtype).eps
        ascending = keep_largest(descending.to(x.device).flip(-1), self.top_n, floor).clamp(min=floor)
        return ascending, vh.to(x.device).mT.flip(-1)

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        ascending, u = self._decompose(self.widened(x))
        saved[0].copy_(ascending)
        saved[1].copy_(u)
        v = u.flip(-1)  # sums in the order of the code
        output.copy_(upper_triangle((v * self.function.value(ascending).flip(-1).unsqueeze(-2)) @ v.mT))


@dataclass(frozen=True)
class AuthorsNewtonSchulz(NewtonSchulzPooling):
    """MPNCOV of both code bases: Newton-Schulz iterations on the covariance with the rounded centring matrix.

    The value is that of DifferentiableSVD's in float64, of fast-MPN-COV's in float32.
    """

    def _covariance(self, x: Tensor) -> tuple[Tensor, Tensor]:
        centered = published_center(x)
        return centered, centered @ x.mT
