"""Covariance pooling by matrix products alone on the smaller Gram matrix, for devices where eigendecompositions are slow.

With `t = trace(X^T X)`, `A = X^T X / t` (N x N) and matrices `Y` and `Z` made of it, which approximate `A^(1/2)` and `A^(-1/2)`,
the root of the covariance is `Q = X Z X^T / sqrt(t)`; with `A = X X^T / t`, where that is smaller, `Q = Y sqrt(t)`.

Here a fixed number of Newton-Schulz steps makes them (iSQRT-COV). They are polynomials of the symmetric `A`: their derivative
along a direction is its own transpose, so that one computation serves the gradient and the forward mode. `root_by_products.py`
iterates until they have converged.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import center, symmetric_from_upper_triangle, upper_triangle
from gcp_repro.linalg.decomposition import require_finite
from gcp_repro.linalg.machinery.operator import Operator, differentiate_twice
from gcp_repro.linalg.matrices import (
    divisor,
    newton_schulz_backward,
    newton_schulz_iterates,
    newton_schulz_iteration,
    pairs,
    trace,
)

__all__ = ["NewtonSchulzProducts", "ProductsPooling", "is_by_positions", "normalised", "pooled"]


class ProductsPooling(Operator):
    """Upper triangle of the root of the covariance, by products of `n x n` matrices with `n = min(C, N)`."""

    temporaries = 2

    def output_shape(self, rows: int, columns: int) -> tuple[int, ...]:
        return (rows * (rows + 1) // 2,)

    @abstractmethod
    def iterate(self, a: Tensor, by_positions: bool, *saved: Tensor) -> Tensor:
        """`Z` of `A`, `(b, n, n)`, where that is `by_positions`, else `Y`; writes what is kept."""

    def forward(self, x: Tensor, output: Tensor, *saved: Tensor) -> None:
        features, size, a = normalised(self.widened(x))
        found = self.iterate(a, is_by_positions(x), *saved)
        output.copy_(upper_triangle(pooled(features, size, found)))


@dataclass(frozen=True)
class NewtonSchulzProducts(ProductsPooling):
    """iSQRT-COV: the iterates after a number of Newton-Schulz steps (eqs. 7 to 10 of the paper).

    Kept for the backward: the iterates before, as on route `dense`, but of `n x n`.

    Attributes:
        num_iterations: K.
        dtype: Of the computation.
    """

    num_iterations: int
    dtype: torch.dtype = torch.float64

    def saved_shapes(self, rows: int, columns: int) -> Sequence[tuple[int, ...]]:
        size = min(rows, columns)
        return [(size, size)] * (2 * (self.num_iterations - 1))

    def iterate(self, a: Tensor, by_positions: bool, *saved: Tensor) -> Tensor:
        y, z, step = newton_schulz_iterates(a, pairs(saved))
        return step @ z if by_positions else y @ step

    def backward(self, upstream: Tensor, x: Tensor, gradient: Tensor, *saved: Tensor) -> None:
        """Of `<G, Q>` by `X`, through the product with `X`, through `A`, and through its trace."""
        features, size, a = normalised(self.widened(x))
        g = symmetric_from_upper_triangle(upstream.to(a.dtype), x.shape[-2])
        if is_by_positions(x):
            g_x = g @ features
            direction = features.mT @ g_x
            by_a, z = self._differentiate(a, direction, True, *saved)
            scale, from_trace = size.rsqrt(), -0.5
            by_features, share = g_x @ z, _inner(direction, z)
        else:
            by_a, y = self._differentiate(a, g, False, *saved)
            scale, from_trace = size.sqrt(), 0.5
            by_features, share = None, _inner(g, y)
        by_a = by_a + by_a.mT  # twice the symmetric part
        by_a.diagonal(dim1=-2, dim2=-1).add_((2 * from_trace * share - _inner(by_a, a)).squeeze(-1))
        by_a /= size
        through_a = features @ by_a if is_by_positions(x) else by_a @ features
        by_features = through_a if by_features is None else through_a.add_(by_features, alpha=2)
        gradient.copy_(center(by_features.mul_(scale)))

    def tangent(self, direction: Tensor, x: Tensor, tangent: Tensor, *saved: Tensor) -> None:
        features, size, a = normalised(self.widened(x))
        toward, by_positions = center(self.widened(direction)), is_by_positions(x)
        moved = toward.mT @ features if by_positions else toward @ features.mT
        moved = moved + moved.mT
        along_size = trace(moved)
        derivative, found = self._differentiate(a, (moved - a * along_size) / size, by_positions, *saved)
        along = pooled(features, size, 0.5 * (derivative + derivative.mT))
        if by_positions:
            side = toward @ found @ features.mT / size.sqrt()
            along = along + side + side.mT
        value = pooled(features, size, found)
        tangent.copy_(upper_triangle(along + (-0.5 if by_positions else 0.5) * along_size / size * value))

    def _differentiate(self, a: Tensor, direction: Tensor, by_positions: bool, *saved: Tensor) -> tuple[Tensor, Tensor]:
        """The derivative of `Z` or `Y` along a symmetric direction, itself not made symmetric, and `Z` or `Y`."""
        by_y, by_z = (None, direction) if by_positions else (direction, None)
        return newton_schulz_backward(a, pairs(saved), by_y, by_z)

    def double_backward(self, direction: Tensor, upstream: Tensor, x: Tensor, *saved: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate the iteration twice."""

        def pool(x: Tensor) -> Tensor:
            features, size, a = normalised(x)
            y, z = newton_schulz_iteration(a, self.num_iterations)
            return upper_triangle(pooled(features, size, z if is_by_positions(x) else y))

        return differentiate_twice(pool, *(tensor.to(self.dtype) for tensor in (direction, upstream, x)))


def is_by_positions(x: Tensor) -> bool:
    """Whether `X^T X` is the smaller Gram matrix of features `(b, C, N)`, or as small: with it goes the null vector `1`."""
    return x.shape[-1] <= x.shape[-2]


def normalised(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`X`, the trace `t`, `(b, 1, 1)`, or 1 where it is 0, and `A`."""
    features = center(x)
    gram = features.mT @ features if is_by_positions(x) else features @ features.mT
    require_finite(gram.detach())
    size = divisor(trace(gram))
    return features, size, gram / size


def pooled(features: Tensor, size: Tensor, found: Tensor) -> Tensor:
    """`Q`, `(b, C, C)`, from `Z` or `Y`."""
    return features @ found @ features.mT / size.sqrt() if is_by_positions(features) else found * size.sqrt()


def _inner(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum((-2, -1), keepdim=True)
