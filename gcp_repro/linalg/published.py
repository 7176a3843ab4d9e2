"""The SVD layers of DifferentiableSVD as its code computes them, to the last bit."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import published_center, upper_triangle
from gcp_repro.linalg.spectral import PublishedPooling, keep_largest, require_finite

__all__ = ["AuthorsPooling"]


@dataclass(frozen=True)
class AuthorsPooling(PublishedPooling):
    """`PublishedPooling` with the centring matrix rounded to float32, and by `svd` instead of `eigh`.

    The rounding leaves a covariance that may be indefinite and whose null space is noise; the singular value decomposition
    takes the absolute values of its eigenvalues. That noise reaches the output, by its root about 1e-8 of it, so that only
    the same decomposition gives the same bits.

    Source:
        github.com/KingJamesSong/DifferentiableSVD, the forward pass of all `SVD_*.py`.
    """

    def _times_centering(self, x: Tensor) -> Tensor:
        return published_center(x)

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        matrix = published_center(x) @ x.mT
        require_finite(matrix)
        _, descending, vh = torch.linalg.svd(matrix.cpu() if self.on_host else matrix, full_matrices=False)
        floor = torch.finfo(self.dtype).eps
        ascending = keep_largest(descending.to(x.device).flip(-1), self.top_n, floor).clamp(min=floor)
        v = vh.to(x.device).mT
        saved[0].copy_(ascending)
        saved[1].copy_(v.flip(-1))
        output.copy_(upper_triangle((v * self.function.value(ascending).flip(-1).unsqueeze(-2)) @ v.mT))
