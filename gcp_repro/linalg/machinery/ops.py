"""The operators of torch that run ours: what a compiled or exported graph of a layer consists of.

Each takes a recipe as a string (`recipe.py`) and computes on chunks of the batch, spread over threads, in the operator's dtype,
with autocast off. `compute` and its relatives are plain computations that autograd does not look into. `apply` is the
differentiable one, whose derivatives are those of `autograd.py`; graphs hold it, or the plain ones that it is traced to.

Being operators of torch they have shapes without data (fake tensors, the meta device) and a rule for `torch.func.vmap`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.mapped import call_mapped
from gcp_repro.linalg.machinery.modes import in_own_precision, is_recorded
from gcp_repro.linalg.machinery.onnx_export import refuse_operators
from gcp_repro.linalg.machinery.operator import Operator
from gcp_repro.linalg.machinery.parallel import for_each_chunk
from gcp_repro.linalg.machinery.recipe import read_recipe

__all__ = ["OPS", "define_autograd"]

_library = torch.library.Library("gcp_repro", "DEF")  # type: ignore[no-untyped-call]
OPS = torch.ops.gcp_repro


def _operator(recipe: str, x: Tensor) -> Operator:
    refuse_operators()
    operator = read_recipe(recipe).operator_for(x)
    if x.is_cuda and operator.looks_at_values and is_recorded():
        raise OptionError(
            f"a CUDA graph records operators that look at no values; got {recipe}, which does: leave the layer out of the graph, "
            "as torch.compile(mode='reduce-overhead') does, or take bcnn, cbp or cross_covariance"
        )
    return operator


def _each_chunk(operator: Operator, x: Tensor, work: Callable[..., None], tensors: Sequence[Tensor]) -> None:
    """Call `work` on chunks of the tensors, without autograd, in reverse or forward, and autocast: settings of each thread."""

    def plain(*chunk: Tensor) -> None:
        with torch.no_grad(), forward_ad._set_fwd_grad_enabled(False), in_own_precision(x):
            work(*chunk)

    largest = max(x.shape[-1], x.shape[-2])
    for_each_chunk(plain, tensors, largest * largest * operator.dtype.itemsize * operator.temporaries)


def _fake_compute(x: Tensor, recipe: str, dtype: str | None = None) -> list[Tensor]:
    operator = _operator(recipe, x)
    batch, rows, columns = x.shape
    shapes = operator.saved_shapes(rows, columns)
    saved = [x.new_empty(batch, *shape, dtype=operator.saved_dtype(i)) for i, shape in enumerate(shapes)]
    return [x.new_empty(batch, *operator.output_shape(rows, columns), dtype=getattr(torch, dtype) if dtype else x.dtype), *saved]


def _compute(x: Tensor, recipe: str, dtype: str | None = None) -> list[Tensor]:
    operator, results = _operator(recipe, x), _fake_compute(x, recipe, dtype)
    _each_chunk(operator, x, operator.forward, [x, *results])
    return results


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _fake_backward(upstream: Tensor, recipe: str, x: Tensor, saved: Sequence[Tensor]) -> Tensor:
    return _like(x)


def _backward(upstream: Tensor, recipe: str, x: Tensor, saved: Sequence[Tensor]) -> Tensor:
    operator, gradient = _operator(recipe, x), _like(x)
    _each_chunk(operator, x, operator.backward, [upstream, x, gradient, *saved])
    return gradient


def _fake_tangent(direction: Tensor, recipe: str, x: Tensor, saved: Sequence[Tensor]) -> Tensor:
    operator = _operator(recipe, x)
    return x.new_empty(x.shape[0], *operator.output_shape(*x.shape[1:]), dtype=operator.dtype)


def _tangent(direction: Tensor, recipe: str, x: Tensor, saved: Sequence[Tensor]) -> Tensor:
    operator, tangent = _operator(recipe, x), _fake_tangent(direction, recipe, x, saved)
    _each_chunk(operator, x, operator.tangent, [direction, x, tangent, *saved])
    return tangent


def _fake_double_backward(
    direction: Tensor, recipe: str, upstream: Tensor, x: Tensor, saved: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    return _like(upstream), _like(x)


def _double_backward(
    direction: Tensor, recipe: str, upstream: Tensor, x: Tensor, saved: Sequence[Tensor]
) -> tuple[Tensor, Tensor]:
    operator, targets = _operator(recipe, x), (_like(upstream), _like(x))

    def work(direction: Tensor, upstream: Tensor, x: Tensor, by_upstream: Tensor, by_x: Tensor, *saved: Tensor) -> None:
        gradients = operator.double_backward(direction, upstream, x, *saved)
        for target, gradient in zip((by_upstream, by_x), gradients, strict=True):
            target.copy_(gradient)

    _each_chunk(operator, x, work, [direction, upstream, x, *targets, *saved])
    return targets


def _apply(x: Tensor, recipe: str, dtype: str | None = None) -> Tensor:
    output: Tensor = OPS.compute(x, recipe, dtype)[0]
    return output


def _fake_apply(x: Tensor, recipe: str, dtype: str | None = None) -> Tensor:
    return _fake_compute(x, recipe, dtype)[0]


_KERNELS: dict[str, tuple[str, Callable[..., Any], Callable[..., Any]]] = {
    "compute": ("(Tensor x, str recipe, str? dtype=None) -> Tensor[]", _compute, _fake_compute),
    "backward": ("(Tensor upstream, str recipe, Tensor x, Tensor[] saved) -> Tensor", _backward, _fake_backward),
    "tangent": ("(Tensor direction, str recipe, Tensor x, Tensor[] saved) -> Tensor", _tangent, _fake_tangent),
    "double_backward": (
        "(Tensor direction, str recipe, Tensor upstream, Tensor x, Tensor[] saved) -> (Tensor, Tensor)",
        _double_backward,
        _fake_double_backward,
    ),
    "apply": ("(Tensor x, str recipe, str? dtype=None) -> Tensor", _apply, _fake_apply),
}
"""Schema, computation and shapes of each operator; see `Operator` for what the arguments are.

A dtype is a name, as "float64": AOTInductor of torch 2.11 gives an operator another ScalarType than the graph says.
"""


def _mapped_rule(op: Callable[..., Any]) -> Callable[..., Any]:
    """The rule of an operator for `torch.func.vmap`."""
    return lambda info, in_dims, *arguments: call_mapped(op, info.batch_size, in_dims, arguments)


def _refuse_older_map(*_: Any) -> None:
    raise OptionError(
        "operators of gcp_repro are mapped over gradients by torch.func; got is_grads_batched=True or vectorize=True, torch's "
        "older way: use torch.func.vmap, jacrev, jacfwd or hessian"
    )


def define_autograd(function: Callable[..., Tensor]) -> None:
    """Set what `apply` does where autograd is on."""
    _library.impl("apply", function, "Autograd")  # type: ignore[no-untyped-call]


_TAGS = tuple(getattr(torch.Tag, name) for name in ("cudagraph_unsafe",) if hasattr(torch.Tag, name))
"""They look at values in between, and decompose: a compiler that records CUDA graphs has to leave them out."""

for _name, (_schema, _kernel, _fake) in _KERNELS.items():
    _library.define(_name + _schema, tags=_TAGS)  # type: ignore[no-untyped-call]
    _library.impl(_name, _kernel, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
    _library.impl(_name, _refuse_older_map, "Batched")  # type: ignore[no-untyped-call]
    torch.library.register_fake(f"gcp_repro::{_name}", _fake, lib=_library)
    torch.library.register_vmap(f"gcp_repro::{_name}", _mapped_rule(getattr(OPS, _name)), lib=_library)
