"""Covariance pooling in the published order of operations (route `dense`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import (
    symmetric_from_upper_triangle,
    upper_triangle,
    write_upper_triangle_of_product,
)
from gcp_repro.linalg.decomposition import decompose, keep_largest
from gcp_repro.linalg.gradient_rules import GradientRule, replace_overflow, skew_quotients
from gcp_repro.linalg.machinery.operator import Operator
from gcp_repro.linalg.machinery.scratch import scratch
from gcp_repro.linalg.spectral_function import SpectralFunction

__all__ = ["PublishedPooling"]


@dataclass(frozen=True)
class PublishedPooling(Operator):
    """Upper triangle of `f(X X^T)` in the published order of operations (route `dense`), whatever the rank.

    Eigenvalues at or below the machine epsilon are set to it, and so stay part of the gradient with all their rounding noise;
    infinite entries of `K` and of the rotated gradient become the largest finite ones. For a rule that is not a difference
    quotient only the floor and the decomposition of the full matrix are kept.

    Attributes:
        function: What is done to the eigenvalues.
        rule: How the gradient table is filled.
        dtype: Of the computation.
        top_n: Keep only so many eigenvalues; the others are set to the machine epsilon.
        on_host: Decompose on the CPU, wherever the features are.
    """

    function: SpectralFunction
    rule: GradientRule
    dtype: torch.dtype = torch.float64
    top_n: int | None = None
    on_host: bool = False
    temporaries = 2

    def output_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return (rows * (rows + 1) // 2,)

    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        return (rows,), (rows, rows)

    def _times_centering(self, x: Tensor) -> Tensor:
        """`X I_bar` of eq. 1, without forming the centring matrix."""
        return (x - x.mean(-1, keepdim=True)).div_(x.shape[-1])

    def spectrum(self, x: Tensor) -> Tensor:
        """Eigenvalues that functions and rules see for features `(b, C, N)`: all C, none below the machine epsilon, ascending."""
        return self._decompose(self.widened(x))[0]

    def _decompose(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The spectrum, and the eigenvectors."""
        centered = self._times_centering(x)
        eigenvalues, u = decompose(centered @ x.mT, self.on_host, centered.mT * x.shape[-1] ** 0.5)
        floor = torch.finfo(self.dtype).eps
        return keep_largest(eigenvalues, self.top_n, floor).clamp(min=floor), u

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        spectrum, u = self._decompose(self.widened(x))
        saved[0].copy_(spectrum)
        u = saved[1].copy_(u)
        scaled = torch.mul(u, self.function.value(spectrum).unsqueeze(-2), out=scratch("scaled", u, *u.shape))
        write_upper_triangle_of_product(scaled, u, torch.zeros_like(spectrum[:, :1]), output)

    def backward(self, upstream: Tensor, x: Tensor, gradient: Tensor, *saved: Tensor) -> None:
        spectrum, u = saved
        h = u.mT @ symmetric_from_upper_triangle(upstream.to(u.dtype), x.shape[-2]) @ u
        by_p = u @ self._rotated(h, spectrum) @ u.mT
        gradient.copy_((by_p + by_p.mT) @ self._times_centering(self.widened(x)))

    def tangent(self, direction: Tensor, x: Tensor, tangent: Tensor, *saved: Tensor) -> None:
        """The transpose of the bracket of eq. 5, but for the replacement of what overflows."""
        spectrum, u = saved
        centered = self._times_centering(self.widened(x))
        moved = self.widened(direction) @ centered.mT
        e = u.mT @ (moved + moved.mT) @ u
        images = self.function.value(spectrum)
        if self.rule.quotient is None:
            inner = self.rule.table(spectrum, images, self.function).transposed().apply_(e)
        else:
            inner = self._bracket(e, spectrum, images)
        product = u @ inner @ u.mT
        tangent.copy_(upper_triangle(0.5 * (product + product.mT)))

    def _bracket(self, h: Tensor, spectrum: Tensor, images: Tensor) -> Tensor:
        assert self.rule.quotient is not None
        k = skew_quotients(spectrum, self.rule.quotient)
        rotated = k.mT * (2 * h * images.unsqueeze(-2))
        slope = self.function.gradient(spectrum).table.diagonal(dim1=-2, dim2=-1)
        rotated.diagonal(dim1=-2, dim2=-1).add_(slope * h.diagonal(dim1=-2, dim2=-1))
        return rotated

    def _rotated(self, h: Tensor, spectrum: Tensor) -> Tensor:
        """The bracket of eq. 5: `K^T * (U^T dU) + diag(dL)` with `dU = 2 G U F`, `dL = f' diag(H)`."""
        images = self.function.value(spectrum)
        if self.rule.quotient is None:
            return self.rule.table(spectrum, images, self.function).apply_(h)
        rotated = self._bracket(h, spectrum, images)
        return replace_overflow(rotated.abs().flatten(1)).view_as(rotated).copysign_(rotated)
