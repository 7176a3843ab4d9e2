"""What an operator is: a differentiable map of a batch of matrices, written without autograd."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.modes import recording
from gcp_repro.linalg.machinery.recipe import Recipe
from gcp_repro.linalg.machinery.scratch import scratch

__all__ = ["Operator", "differentiate_twice"]


class Operator(Recipe):
    """A differentiable map of a batch of matrices, given by its forward and backward computations.

    Shapes below are those of one chunk; `b` is its number of items. Computation happens in `dtype`, float64 or float32; inputs,
    outputs and their gradients come in any floating dtype, and are written into tensors that are given. `saved` is what the
    forward kept.
    """

    dtype: torch.dtype
    looks_at_values = True  # while it computes, as decompositions do: nothing that a CUDA graph can record
    temporaries = 1  # matrices of the largest size that are in use at a time, relative to the rank-aware route

    def operator_for(self, x: Tensor) -> Operator:
        return self

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

    def tangent(self, direction: Tensor, x: Tensor, tangent: Tensor, *saved: Tensor) -> None:
        """Write the derivative of the output along `direction`, `(b, rows, columns)`: the transpose of `backward`.

        This one differentiates `backward`, which is linear in its upstream gradient, and for this must not write it, or what
        depends on it, into scratch memory.
        """
        with recording():
            upstream = torch.zeros_like(tangent).requires_grad_()
            gradient = torch.zeros_like(x, dtype=tangent.dtype)
            self.backward(upstream, x, gradient, *saved)
            (along,) = torch.autograd.grad(gradient, upstream, direction.to(gradient.dtype))
        tangent.copy_(along)

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        """Gradients of `<direction, gradient>`, the gradient of `backward`, by `upstream`, which is the tangent, and by `x`."""
        raise OptionError(
            f"{type(self).__name__} has no second derivative for its gradient rule: "
            "double backward is defined for the exact gradient of the root, svd_lyapunov and matrix_sqrt(gradient='lyapunov')"
        )


def differentiate_twice(
    function: Callable[[Tensor], Tensor], direction: Tensor, upstream: Tensor, x: Tensor
) -> tuple[Tensor, Tensor]:
    """An operator's `double_backward`, from a way to compute its forward that autograd can differentiate twice."""
    with recording():
        x, upstream = x.detach().requires_grad_(), upstream.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(x), x, upstream, create_graph=True)
        by_upstream, by_x = torch.autograd.grad(gradient, (upstream, x), direction)
    return by_upstream, by_x
