"""Derivatives of the operators: gradients, tangents, and the second derivatives that follow from them, under every transform.

A call of a layer is one autograd function, and each of its derivatives another one, so that they can be mapped and differentiated
in their turn. All of them run the plain operators of `ops.py`. A graph that is compiled or exported holds `gcp_repro::apply`,
whose derivatives are the same functions.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.mapped import call_mapped
from gcp_repro.linalg.machinery.modes import is_traced
from gcp_repro.linalg.machinery.ops import OPS, define_autograd

__all__ = ["DTYPE_NAMES", "apply_operator"]

DTYPE_NAMES = {getattr(torch, name): name for name in ("float64", "float32", "bfloat16", "float16")}
"""As operators of torch and recipes have them; compilers that trace a layer can look them up."""


def apply_operator(recipe: str, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """What the operator of a recipe makes of matrices; differentiable.

    Args:
        recipe: Its text.
        x: `(..., rows, columns)`, of any floating dtype.
        dtype: Of the result; that of `x` if none is given.
    """
    leading, matrices, name = x.shape[:-2], x.reshape(-1, *x.shape[-2:]), None if dtype is None else DTYPE_NAMES[dtype]
    output = OPS.apply(matrices, recipe, name) if is_traced(matrices) else _Apply.apply(matrices, recipe, name)[0]
    result: Tensor = output.reshape(*leading, *output.shape[1:])
    return result


def _apply_in_graph(x: Tensor, recipe: str, dtype: str | None = None) -> Tensor:
    try:
        output: Tensor = _Apply.apply(x, recipe, dtype)[0]
    except NotImplementedError as error:  # torch's own, of an autograd function below a transform
        raise OptionError(
            "torch.func transforms other than vmap do not go through a layer in a compiled graph: leave fullgraph=True out, "
            "and torch runs that part as it is, or transform the function without compiling it"
        ) from error
    return output


class _Mapped(torch.autograd.Function):
    """Base class: functions of batches."""

    @classmethod
    def vmap(cls, info: Any, in_dims: tuple[int | None, ...], *arguments: Any) -> tuple[Any, Any]:
        return call_mapped(cls.apply, info.batch_size, in_dims, arguments)


class _Apply(_Mapped):
    """Forward: `(B, rows, columns)` to the output and, as further outputs, what the derivatives need."""

    @staticmethod
    def forward(x: Tensor, recipe: str, dtype: str | None) -> tuple[Tensor, ...]:
        return tuple(OPS.compute(x, recipe, dtype))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, str, str | None], output: tuple[Tensor, ...]) -> None:
        x, ctx.recipe, _ = inputs
        ctx.dtype = output[0].dtype
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *output[1:])
        ctx.save_for_forward(x, *output[1:])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, None, None]:
        if upstream[0] is None:
            return None, None, None
        if torch.compiler.is_compiling():  # compiled autograd, which follows no function within the backward of another
            x, *saved = ctx.saved_tensors
            return OPS.backward(upstream[0], ctx.recipe, x, saved), None, None
        return _Backward.apply(upstream[0], ctx.recipe, *ctx.saved_tensors), None, None

    @staticmethod
    def jvp(ctx: Any, direction: Tensor, *_: None) -> tuple[Tensor | None, ...]:
        x, *saved = ctx.saved_tensors
        return _Tangent.apply(direction, ctx.recipe, x, *saved).to(ctx.dtype), *(None for _ in saved)


class _Backward(_Mapped):
    """Gradient with respect to `x`, linear in the upstream gradient."""

    @staticmethod
    def forward(upstream: Tensor, recipe: str, x: Tensor, *saved: Tensor) -> Tensor:
        gradient: Tensor = OPS.backward(upstream, recipe, x, saved)
        return gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        upstream, ctx.recipe, x, *saved = inputs
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(upstream, x, *saved)
        ctx.save_for_forward(upstream, x, *saved)

    @staticmethod
    def backward(ctx: Any, direction: Tensor | None) -> tuple[Tensor | None, ...]:
        upstream, x, *saved = ctx.saved_tensors
        if direction is None:
            return None, None, None, *(None for _ in saved)
        by_upstream, by_x = _DoubleBackward.apply(direction, ctx.recipe, upstream, x, *saved)
        return by_upstream, None, by_x, *(None for _ in saved)

    @staticmethod
    def jvp(ctx: Any, upstream_direction: Tensor | None, _: None, direction: Tensor | None, *of_saved: None) -> Tensor:
        """Second derivatives are symmetric: along a direction of `x` they are the gradient of the gradient's product with it."""
        upstream, x, *saved = ctx.saved_tensors
        terms = []
        if upstream_direction is not None:
            terms.append(_Backward.apply(upstream_direction, ctx.recipe, x, *saved))
        if direction is not None:
            terms.append(_DoubleBackward.apply(direction, ctx.recipe, upstream, x, *saved)[1])
        total: Tensor = sum(terms[1:], terms[0])
        return total


class _Tangent(_Mapped):
    """Derivative of the output along a direction of `x`, linear in that."""

    @staticmethod
    def forward(direction: Tensor, recipe: str, x: Tensor, *saved: Tensor) -> Tensor:
        tangent: Tensor = OPS.tangent(direction, recipe, x, saved)
        return tangent

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        direction, ctx.recipe, x, *saved = inputs
        ctx.save_for_backward(direction, x, *saved)
        ctx.save_for_forward(direction, x, *saved)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor | None) -> tuple[Tensor | None, ...]:
        direction, x, *saved = ctx.saved_tensors
        if upstream is None:
            return None, None, None, *(None for _ in saved)
        by_direction = _Backward.apply(upstream, ctx.recipe, x, *saved)
        by_x = _DoubleBackward.apply(direction, ctx.recipe, upstream, x, *saved)[1] if ctx.needs_input_grad[2] else None
        return by_direction, None, by_x, *(None for _ in saved)

    @staticmethod
    def jvp(ctx: Any, *directions: Tensor | None) -> Tensor:
        _, x, *saved = ctx.saved_tensors
        if directions[0] is None or directions[2] is not None:
            raise OptionError(
                "a layer has no forward derivative of its forward derivative: take one of the two in reverse, as "
                "torch.func.hessian (jacfwd of jacrev) does"
            )
        tangent: Tensor = _Tangent.apply(directions[0], ctx.recipe, x, *saved)
        return tangent


class _DoubleBackward(_Mapped):
    """The backward of the backward; there is no third derivative."""

    @staticmethod
    def forward(direction: Tensor, recipe: str, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        by_upstream, by_x = OPS.double_backward(direction, recipe, upstream, x, saved)
        return by_upstream, by_x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.recipe = inputs[1]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> None:
        _refuse_third_derivative(ctx.recipe)

    @staticmethod
    def jvp(ctx: Any, *directions: Tensor | None) -> None:
        _refuse_third_derivative(ctx.recipe)


def _refuse_third_derivative(recipe: str) -> None:
    raise OptionError(
        f"{recipe} can be differentiated twice; a third derivative was asked for: "
        "use torch.linalg.eigh on matrices without repeated eigenvalues for that"
    )


define_autograd(_apply_in_graph)
