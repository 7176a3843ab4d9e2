"""Operators that are written as differentiable code of torch: the backward computes the forward again."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import center, upper_triangle
from gcp_repro.linalg.machinery.modes import recording
from gcp_repro.linalg.machinery.operator import Operator, differentiate_twice
from gcp_repro.linalg.matrix_steps import MatrixStep

__all__ = ["Recomputed", "StepPooling"]


class Recomputed(Operator):
    """Base class: `pool` says it all."""

    def output_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return (rows * (rows + 1) // 2,)

    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        return ()

    @abstractmethod
    def pool(self, x: Tensor) -> Tensor:
        """The output for features `(b, rows, columns)` in `dtype`, by operators that autograd differentiates."""

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        output.copy_(self.pool(self.widened(x)))

    def backward(self, upstream: Tensor, x: Tensor, gradient: Tensor, *saved: Tensor) -> None:
        with recording():
            wide = self.widened(x.detach()).requires_grad_()
            (by_x,) = torch.autograd.grad(self.pool(wide), wide, upstream.to(self.dtype))
        gradient.copy_(by_x)

    def tangent(self, direction: Tensor, x: Tensor, tangent: Tensor, *saved: Tensor) -> None:
        """The gradient's gradient by the upstream one, at which it is linear."""
        zeros = x.new_zeros(len(x), *self.output_shape(*x.shape[-2:]), dtype=self.dtype)
        tangent.copy_(differentiate_twice(self.pool, direction.to(self.dtype), zeros, x.to(self.dtype))[0])

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        return differentiate_twice(self.pool, *(tensor.to(self.dtype) for tensor in (direction, upstream, x)))


@dataclass(frozen=True)
class StepPooling(Recomputed):
    """Upper triangle of what a step makes of the covariance of features, or of their second moment.

    Attributes:
        step: What is done to the matrix.
        moment: `"covariance"`, or `"second_moment"` without subtracting the mean.
        dtype: Of the computation.
    """

    step: MatrixStep
    moment: Literal["covariance", "second_moment"] = "covariance"
    dtype: torch.dtype = torch.float64
    temporaries = 4

    @property
    def looks_at_values(self) -> bool:  # type: ignore[override]
        return not self.step.is_products

    def __post_init__(self) -> None:
        _ = self.text  # written now: a compiler that traces a layer reads it

    def pool(self, x: Tensor) -> Tensor:
        z = center(x) if self.moment == "covariance" else x * x.shape[-1] ** -0.5
        return upper_triangle(self.step.apply(z @ z.mT))
