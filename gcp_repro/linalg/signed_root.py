"""Second moments and the signed root with division by the norm, which keep for their backward no more than they have to.

Both are formulas of a few lines that autograd can differentiate by itself; it would keep every intermediate result, in float64.
Here the moment keeps the features in their own dtype, and the root its output. All derivatives and transforms stay those of the
formulas.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gcp_repro.linalg.machinery.modes import is_traced

__all__ = ["second_moment", "signed_root_and_normalise"]

LINEAR = torch.finfo(torch.float32).eps  # share of a row's largest entry below which the root is replaced by a line


def second_moment(features: Tensor) -> Tensor:
    """`X X^T / N`, `(B, C, C)` in float64, of features `(B, C, N)` of any dtype; gradients come in that dtype."""
    if is_traced(features):
        return _moment(features, features)
    result: Tensor = _SecondMoment.apply(features)  # type: ignore[no-untyped-call]
    return result


def _moment(left: Tensor, right: Tensor) -> Tensor:
    moment: Tensor = left.double() @ right.double().mT / left.shape[-1]
    return moment


class _SecondMoment(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(features: Tensor) -> Tensor:
        return _moment(features, features)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor], output: Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        gradient: Tensor = (upstream + upstream.mT) @ features.double() / features.shape[-1]
        return gradient.to(features.dtype)

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor) -> Tensor:
        (features,) = ctx.saved_tensors
        half = _moment(tangent, features)
        return half + half.mT


def signed_root_and_normalise(pooled: Tensor, dtype: torch.dtype) -> Tensor:
    """`sign(x) sqrt(|x|)`, then division by the l2 norm (B-CNN, Lin et al., ICCV 2015).

    The slope is unbounded at 0: entries below a share of 1.2e-7 of the row's largest are mapped linearly instead, which changes
    the result by at most 9e-5. Rows may be of any scale.

    Args:
        pooled: `(B, D)`, float64; NaN or infinity in a row makes the whole row NaN.
        dtype: Of the result.
    """
    if is_traced(pooled):
        return _signed_root(pooled)[0].to(dtype)
    kept = torch.promote_types(dtype, torch.float32)  # that of the result, unless its digits are too few for the slope
    result: Tensor = _SignedRoot.apply(pooled, kept)[0]  # type: ignore[no-untyped-call]
    return result.to(dtype)


def _signed_root(pooled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The result, the norm that it was divided by, and the largest entry that `pooled` was divided by, `(B, 1)` each."""
    largest = pooled.detach().abs().amax(1, keepdim=True)
    largest = torch.where(largest == 0, 1.0, largest)
    shares = pooled / largest
    rooted = shares / shares.abs().clamp(min=LINEAR).sqrt()
    norm = torch.linalg.vector_norm(rooted, dim=1, keepdim=True).clamp(min=1e-12)
    return rooted / norm, norm, largest


class _SignedRoot(torch.autograd.Function):
    """The result `y` and the norm. The root of a share is `r = y norm`, and its slope `1 / (2 |r|)`: `y` is all that it takes."""

    generate_vmap_rule = True

    @staticmethod
    def forward(pooled: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        result, norm, largest = _signed_root(pooled)
        return result.to(dtype), norm, largest

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, torch.dtype], output: tuple[Tensor, Tensor, Tensor]) -> None:
        ctx.mark_non_differentiable(output[2])  # a scale that drops out again
        ctx.save_for_backward(*output)
        ctx.save_for_forward(*output)

    @staticmethod
    def backward(ctx: Any, by_result: Tensor, by_norm: Tensor, _: Tensor) -> tuple[Tensor, None]:
        result, norm, largest = ctx.saved_tensors
        result, by_result = result.double(), by_result.double()
        along = (result * by_result).sum(1, keepdim=True)
        by_root = (by_result - result * along) / norm + by_norm * result
        return by_root * _slope(result, norm, largest), None

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> tuple[Tensor, Tensor, None]:
        kept, norm, largest = ctx.saved_tensors
        result = kept.double()
        root = tangent * _slope(result, norm, largest)
        along = (result * root).sum(1, keepdim=True)
        return ((root - result * along) / norm).to(kept.dtype), along, None


def _slope(result: Tensor, norm: Tensor, largest: Tensor) -> Tensor:
    """Of the root with respect to `pooled`, before the division by the norm."""
    root = (result * norm).abs()
    line: float = LINEAR**-0.5
    return torch.where(root < LINEAR**0.5, line, 0.5 / root.clamp(min=LINEAR**0.5)) / largest
