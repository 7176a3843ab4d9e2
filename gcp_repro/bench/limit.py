"""The least that a spectral covariance layer can cost: its matrix products and one symmetric eigendecomposition."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gcp_repro.linalg.covariance import center
from gcp_repro.linalg.decomposition import decompose_gram
from gcp_repro.linalg.machinery.parallel import for_each_chunk

__all__ = ["Limit"]


class Limit(nn.Module):
    """Runs the products and the eigendecomposition of the gram route with torch's kernels, and nothing else.

    Off the CPU the eigendecomposition is what the layers call, with their checks.

    With `n = min(C, N)`, `X` the features `(C, N)`, `V` the eigenvectors of the smaller Gram matrix and `U` those of `X X^T`,
    the forward is `X^T X` (or `X X^T`), its eigendecomposition, `X V` and `U U^T`; the backward `G U`, `U^T (G U)`, `U M` and
    `R V^T` (or `U^T X` and `R (U^T X)`): seven products for either shape. The batch is spread over threads as the layers do it.
    Conversions of dtype, centring, the triangle and everything done to eigenvalues cost nothing here: the operands are made at
    construction, results go into the same memory in every run. What comes out has the right shapes and no meaning.

    Args:
        features: `(B, C, H, W)`, an example of what the layers get.
        dtype: Of the decomposition, and of the products that it starts from or that make `U`.
        product_dtype: Of the other products; that of the decomposition if none is given.
    """

    def __init__(self, features: Tensor, dtype: torch.dtype, product_dtype: torch.dtype | None = None) -> None:
        super().__init__()
        self.x = center(features.detach().flatten(2).to(dtype))
        batch, rows, columns = self.x.shape
        size = min(rows, columns)
        self.kept_x = kept = self.x.to(product_dtype or dtype)
        self.g = torch.randn(batch, rows, rows, dtype=kept.dtype, generator=torch.Generator().manual_seed(0)).to(features.device)
        self.u, self.v = kept.new_zeros(batch, rows, size), kept.new_zeros(batch, size, size)
        self.square = kept.new_empty(batch, rows, rows)
        self.gradient = kept.new_empty(batch, rows, columns)
        self.bytes_per_item = max(rows, columns) ** 2 * dtype.itemsize
        self.zeros = torch.zeros_like(features)

    def forward(self, features: Tensor) -> Tensor:
        """`(B, 1)`, zeros."""
        return _Limit.apply(features, self)  # type: ignore[no-any-return, no-untyped-call]

    def run_forward(self) -> None:
        """The eigendecomposition and the products of the forward."""
        for_each_chunk(_forward, [self.x, self.v, self.u, self.square], self.bytes_per_item)

    def run_backward(self) -> None:
        """The products of the backward."""
        for_each_chunk(_backward, [self.kept_x, self.v, self.u, self.g, self.gradient], self.bytes_per_item)


def _forward(x: Tensor, v: Tensor, u: Tensor, square: Tensor) -> None:
    by_positions = x.shape[-1] < x.shape[-2]
    eigenvectors = _eigenvectors(x, by_positions)
    if by_positions:
        v.copy_(eigenvectors)
        u.copy_(x @ eigenvectors) if u.dtype != x.dtype else torch.bmm(x, eigenvectors, out=u)
    else:
        u.copy_(eigenvectors)
    torch.bmm(u, u.mT, out=square)


def _eigenvectors(x: Tensor, by_positions: bool) -> Tensor:
    if x.device.type != "cpu":
        return decompose_gram(x, by_positions)[1]  # whichever of the device's functions is the fastest
    eigenvectors: Tensor = torch.linalg.eigh(x.mT @ x if by_positions else x @ x.mT)[1]
    return eigenvectors


def _backward(x: Tensor, v: Tensor, u: Tensor, g: Tensor, gradient: Tensor) -> None:
    g_u = g @ u
    left = u @ (u.mT @ g_u)
    torch.bmm(left, v.mT if x.shape[-1] < x.shape[-2] else u.mT @ x, out=gradient)


class _Limit(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, limit: Limit) -> Tensor:
        ctx.limit = limit
        with torch.no_grad():
            limit.run_forward()
        return features.new_zeros(features.shape[0], 1)

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None]:
        with torch.no_grad():
            ctx.limit.run_backward()
        return ctx.limit.zeros, None
