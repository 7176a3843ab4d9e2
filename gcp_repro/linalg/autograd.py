"""The one autograd function: it runs any operator, in chunks, in the spectral dtype, under every transform of torch.

An operator is a pair of plain functions, forward and backward, on batches of matrices, written without autograd. This module
adds what all of them need: the batch spread over threads, the change of dtype, autocast switched off, overflow on the way
back to a narrower dtype, `torch.func` transforms, shapes without data on the meta device, and a second derivative where the
operator has one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from gcp_repro.errors import OptionError
from gcp_repro.linalg.parallel import for_each_chunk
from gcp_repro.linalg.scratch import scratch

__all__ = ["Operator", "apply_operator", "differentiate_twice", "without_autocast"]


class Operator(ABC):
    """A differentiable map of a batch of matrices, given by its forward and backward computations.

    Shapes below are those of one chunk; `b` is its number of items. Computation happens in `dtype`, float64 or float32; inputs,
    outputs and upstream gradients come in the dtype of the features.
    """

    dtype: torch.dtype
    temporaries = 1  # matrices of the largest size that are in use at a time, relative to the rank-aware route

    @abstractmethod
    def output_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        """Shape of one item's output for an input of `(rows, columns)`."""

    @abstractmethod
    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        """Shapes of what one item's forward keeps for the backward."""

    def saved_dtype(self, index: int) -> torch.dtype:
        """Dtype of the kept tensor of this index."""
        return self.dtype

    def widened(self, x: Tensor) -> Tensor:
        """`x` in `dtype`, in scratch memory if that is another one."""
        return x if x.dtype == self.dtype else scratch("widened", x, *x.shape, dtype=self.dtype).copy_(x)

    @abstractmethod
    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        """Write the output and what is kept. `x` is `(b, rows, columns)`."""

    @abstractmethod
    def backward(self, upstream: Tensor, x: Tensor, gradient: Tensor, *saved: Tensor) -> None:
        """Write the gradient with respect to `x`, given the upstream gradient of the output."""

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of `<direction, gradient(upstream, x)>` with respect to `upstream` and `x`."""
        raise OptionError(
            f"{type(self).__name__} has no second derivative for its gradient rule: "
            "double backward is defined for the exact gradient of the root, svd_lyapunov and matrix_sqrt(gradient='lyapunov')"
        )


@torch.compiler.disable  # type: ignore[untyped-decorator]
def apply_operator(operator: Operator, x: Tensor, dtype: torch.dtype | None = None) -> Tensor:
    """Apply `operator` to `(..., rows, columns)`; differentiable.

    Args:
        operator: What to apply.
        x: Of any floating dtype.
        dtype: Of the result; that of `x` if none is given.
    """
    leading = x.shape[:-2]
    output = _Apply.apply(x.reshape(-1, *x.shape[-2:]), operator, dtype or x.dtype)[0]  # type: ignore[no-untyped-call]
    result: Tensor = output.reshape(*leading, *output.shape[1:])
    return result


def differentiate_twice(
    function: Callable[[Tensor], Tensor], direction: Tensor, upstream: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """An operator's `double_backward`, from a way to compute its forward that autograd can differentiate twice."""
    with torch.enable_grad():
        x, upstream = x.detach().requires_grad_(), upstream.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(x), x, upstream, create_graph=True)
        by_upstream, by_x = torch.autograd.grad(gradient, (upstream, x), direction)
    return by_upstream, by_x


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Autocast switched off for the device of `x`, if it has any there."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


def _bytes_per_item(x: Tensor, operator: Operator) -> int:
    return max(x.shape[-1], x.shape[-2]) ** 2 * operator.dtype.itemsize * operator.temporaries


class _Apply(torch.autograd.Function):
    """Forward: `(B, rows, columns)` to the output and, as further outputs, what the backward needs."""

    @staticmethod
    def forward(x: Tensor, operator: Operator, dtype: torch.dtype) -> tuple[Tensor, ...]:
        batch, rows, columns = x.shape
        output = x.new_empty(batch, *operator.output_shape(rows, columns), dtype=dtype)
        shapes = operator.saved_shapes(rows, columns)
        saved = [x.new_empty(batch, *shape, dtype=operator.saved_dtype(i)) for i, shape in enumerate(shapes)]

        def work(x: Tensor, output: Tensor, *saved: Tensor) -> None:
            with torch.no_grad(), without_autocast(x):
                operator.forward(x, output, *saved)

        for_each_chunk(work, [x, output, *saved], _bytes_per_item(x, operator))
        return (output, *saved)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Operator, torch.dtype], output: tuple[Tensor, ...]) -> None:
        x, ctx.operator, _ = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, *output[1:])

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor | None) -> tuple[Tensor | None, None, None]:
        if upstream[0] is None:
            return None, None, None
        return _ApplyBackward.apply(upstream[0], ctx.operator, *ctx.saved_tensors), None, None  # type: ignore[no-untyped-call]

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, None, None], x: Tensor, operator: Operator, dtype: torch.dtype
    ) -> tuple[Any, Any]:
        x = x.movedim(in_dims[0] or 0, 0) if in_dims[0] is not None else x.expand(info.batch_size, *x.shape)
        outputs = _Apply.apply(x.flatten(0, 1), operator, dtype)  # type: ignore[no-untyped-call]
        return tuple(o.unflatten(0, x.shape[:2]) for o in outputs), tuple(0 for _ in outputs)


class _ApplyBackward(torch.autograd.Function):
    """The backward as a function of its own, so that it can be vmapped and differentiated again."""

    @staticmethod
    def forward(upstream: Tensor, operator: Operator, x: Tensor, *saved: Tensor) -> Tensor:
        gradient = torch.empty_like(x, memory_format=torch.contiguous_format)

        def work(upstream: Tensor, x: Tensor, gradient: Tensor, *saved: Tensor) -> None:
            with torch.no_grad(), without_autocast(x):
                operator.backward(upstream, x, gradient, *saved)

        for_each_chunk(work, [upstream, x, gradient, *saved], _bytes_per_item(x, operator))
        return gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        upstream, ctx.operator, x, *saved = inputs
        ctx.save_for_backward(upstream, x, *saved)

    @staticmethod
    def backward(ctx: Any, direction: Tensor) -> tuple[Tensor | None, ...]:
        upstream, x, *saved = ctx.saved_tensors
        by_upstream, by_x = _ApplyDoubleBackward.apply(direction, ctx.operator, upstream, x, *saved)  # type: ignore[no-untyped-call]
        return by_upstream, None, by_x, *(None for _ in saved)

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], upstream: Tensor, operator: Operator, *tensors: Tensor
    ) -> tuple[Any, int]:
        return _vmapped(_ApplyBackward, info.batch_size, in_dims, upstream, operator, *tensors), 0


class _ApplyDoubleBackward(torch.autograd.Function):
    """The backward of the backward; there is no third derivative."""

    @staticmethod
    def forward(direction: Tensor, operator: Operator, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        by_upstream = torch.empty_like(upstream, memory_format=torch.contiguous_format)
        by_x = torch.empty_like(x, memory_format=torch.contiguous_format)

        def work(direction: Tensor, upstream: Tensor, x: Tensor, by_upstream: Tensor, by_x: Tensor, *saved: Tensor) -> None:
            with torch.no_grad(), without_autocast(x):
                gradients = operator.double_backward(direction, upstream, x, *saved)
                for target, gradient in zip((by_upstream, by_x), gradients, strict=True):
                    target.copy_(gradient)

        for_each_chunk(work, [direction, upstream, x, by_upstream, by_x, *saved], _bytes_per_item(x, operator))
        return by_upstream, by_x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.operator = inputs[1]

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> None:
        raise OptionError(
            f"{type(ctx.operator).__name__} can be differentiated twice; a third derivative was asked for: "
            "use torch.linalg.eigh on matrices without repeated eigenvalues for that"
        )

    @staticmethod
    def vmap(
        info: Any, in_dims: tuple[int | None, ...], direction: Tensor, operator: Operator, *tensors: Tensor
    ) -> tuple[Any, tuple[int, int]]:
        return _vmapped(_ApplyDoubleBackward, info.batch_size, in_dims, direction, operator, *tensors), (0, 0)


def _vmapped(
    function: type[torch.autograd.Function], size: int, in_dims: tuple[int | None, ...], first: Tensor, operator: Operator,
    *tensors: Tensor,
) -> Any:  # fmt: skip
    """Apply `function(first, operator, *tensors)` with the dimension of `torch.func.vmap` made part of the batch."""
    moved = [
        tensor.movedim(dim, 0) if dim is not None else tensor.expand(size, *tensor.shape)
        for tensor, dim in zip((first, *tensors), (in_dims[0], *in_dims[2:]), strict=True)
    ]
    shape = moved[0].shape[:2]
    first, *rest = (tensor.flatten(0, 1) for tensor in moved)
    result = function.apply(first, operator, *rest)  # type: ignore[no-untyped-call]
    if isinstance(result, tuple):
        return tuple(part.unflatten(0, shape) for part in result)
    return result.unflatten(0, shape)
