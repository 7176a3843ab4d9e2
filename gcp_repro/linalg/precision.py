"""Features of a narrow dtype, computed with in a wide one."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

__all__ = ["widen"]


def widen(features: Tensor, dtype: torch.dtype) -> Tensor:
    """Convert to a wider `dtype`; gradients that the features' own dtype cannot hold become its largest number, not infinity.

    Works under all transforms of `torch.func`, and any number of derivatives.

    Example:
        >>> x = torch.ones(1, dtype=torch.float16, requires_grad=True)
        >>> (1e6 * widen(x, torch.float64)).backward()
        >>> x.grad.item()
        65504.0
    """
    if torch.finfo(features.dtype).max >= torch.finfo(dtype).max:
        return features.to(dtype)
    function = _Widen if torch.compiler.is_compiling() else _WidenWithTangent
    widened: Tensor = function.apply(features, dtype)  # type: ignore[no-untyped-call]
    return widened


class _Widen(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(features: Tensor, dtype: torch.dtype) -> Tensor:
        return features.to(dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, torch.dtype], output: Tensor) -> None:
        ctx.narrow, ctx.wide = inputs[0].dtype, inputs[1]

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None]:
        largest = torch.finfo(ctx.narrow).max
        return upstream.clamp(-largest, largest).to(ctx.narrow), None


class _WidenWithTangent(_Widen):
    """With forward-mode differentiation, which keeps `torch.compile` from tracing a function."""

    @staticmethod
    def jvp(ctx: Any, tangent: Tensor, _: None) -> Tensor:
        return tangent.to(ctx.wide)
