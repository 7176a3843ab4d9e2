"""Covariance of features, and the upper triangle as a vector."""

from __future__ import annotations

import functools
from typing import NamedTuple

import torch
from torch import Tensor

from gcp_repro.errors import ShapeError

__all__ = [
    "as_positions",
    "center",
    "covariance",
    "fill_diagonal",
    "from_upper_triangle",
    "published_center",
    "symmetric_from_upper_triangle",
    "upper_pairs",
    "upper_triangle",
    "upper_triangle_of_product",
]


def as_positions(features: Tensor) -> Tensor:
    """View feature maps `(B, C, H, W)` as `(B, C, H * W)`; `(B, C, N)` is returned as it is.

    Raises:
        ShapeError: Not a tensor, another number of dimensions, a size of 0, or not a floating dtype.
    """
    if not isinstance(features, Tensor):
        raise ShapeError(f"features must be a torch.Tensor; got {type(features).__name__}: convert them with torch.as_tensor")
    if features.ndim not in (3, 4) or 0 in features.shape[1:] or not features.is_floating_point():
        raise ShapeError(
            "features must be floating point, (B, C, H, W) or (B, C, N) with C and N at least 1; "
            f"got {features.dtype} {tuple(features.shape)}: keep the spatial dimensions and drop the backbone's own pooling"
        )
    positions: Tensor = features.flatten(2)
    return positions


def center(features: Tensor) -> Tensor:
    """Features less their mean over positions, divided by `sqrt(N)`, so that `X X^T` is their covariance (eq. 1).

    Args:
        features: `(..., C, N)`.
    """
    scale: float = features.shape[-1] ** -0.5
    return (features - features.mean(-1, keepdim=True)).mul_(scale)


def published_center(features: Tensor) -> Tensor:
    """`X I_bar` of eq. 1 as the public code computes it: a product with the centring matrix, which is rounded to float32.

    With `X = features`, `(..., C, N)`, the covariance is `(X I_bar) X^T`. In float64 the rounding leaves some 1e-8 of the
    mean's energy behind.
    """
    size = features.shape[-1]
    ones, eye = torch.ones(size, size, device=features.device), torch.eye(size, device=features.device)
    return features @ ((-1.0 / size / size) * ones + (1.0 / size) * eye).to(features.dtype)


def covariance(features: Tensor) -> Tensor:
    """Sample covariance `(..., C, C)` of features `(..., C, N)`, divided by `N` as in eq. 1; differentiable."""
    centered = center(features)
    return centered @ centered.mT


class _Triangle(NamedTuple):
    """Index tensors of the upper triangle of a square matrix, row by row."""

    rows: Tensor
    columns: Tensor
    to_vector: Tensor  # flat positions of the triangle in the matrix
    to_matrix: Tensor  # positions of all entries of the matrix in the triangle
    diagonal: Tensor  # positions of the diagonal in the triangle


def _triangle(size: int, device: torch.device) -> _Triangle:
    return _make_triangle(size, device) if torch.compiler.is_compiling() else _kept_triangle(size, device)


@functools.lru_cache(maxsize=64)
def _kept_triangle(size: int, device: torch.device) -> _Triangle:
    with torch.inference_mode(False):  # for later calls, which may need gradients
        return _make_triangle(size, device)


def _make_triangle(size: int, device: torch.device) -> _Triangle:
    rows, columns = torch.triu_indices(size, size, device=device)
    position = torch.arange(len(rows), device=device)
    to_matrix = torch.empty(size, size, dtype=torch.long, device=device)
    to_matrix[rows, columns] = position
    to_matrix[columns, rows] = position
    index = torch.arange(size, device=device)
    diagonal = index * size - index * (index - 1) // 2  # where each row of the triangle starts
    return _Triangle(rows, columns, rows * size + columns, to_matrix.flatten(), diagonal)


LONG_SELECTION = 4096  # entries from which on a call for every row costs less than what it saves


def _take(values: Tensor, index: Tensor) -> Tensor:
    """`values[..., index]`.

    On the CPU long one-dimensional selections are about three times faster than one along the last of two dimensions.
    """
    if len(index) < LONG_SELECTION or values.device.type != "cpu" or values.ndim != 2 or torch.is_grad_enabled():
        return values.index_select(-1, index)
    result = values.new_empty(len(values), len(index))
    for row, selected in zip(values, result, strict=True):
        torch.index_select(row, 0, index, out=selected)
    return result


def upper_triangle(matrix: Tensor) -> Tensor:
    """Upper triangle of `(..., C, C)`, row by row, `(..., C (C + 1) / 2)`: the order of `torch.triu_indices`.

    Example:
        >>> upper_triangle(torch.tensor([[1, 2], [2, 3]])).tolist()
        [1, 2, 3]
    """
    return _take(matrix.flatten(-2), _triangle(matrix.shape[-1], matrix.device).to_vector)


def upper_triangle_of_product(left: Tensor, right: Tensor, diagonal: Tensor) -> Tensor:
    """Upper triangle of the symmetric `left @ right^T + diagonal I`, without most of the lower half of the product.

    Args:
        left: `(b, C, n)`.
        right: `(b, C, n)`, such that the product is symmetric.
        diagonal: `(b, 1)`.
    """
    size = left.shape[-2]
    product = left.new_empty(*left.shape[:-1], size)
    step = -(-size // 4) if size >= 128 else size
    for start in range(0, size, step):
        rows = slice(start, start + step)
        torch.bmm(left[:, rows], right[:, start:].mT, out=product[:, rows, start:])
    product.diagonal(dim1=-2, dim2=-1).add_(diagonal)
    return upper_triangle(product)


def from_upper_triangle(vector: Tensor, size: int) -> Tensor:
    """The symmetric matrix `(..., size, size)` whose upper triangle is `vector`."""
    entries = _take(vector, _triangle(size, vector.device).to_matrix)
    return entries.reshape(*vector.shape[:-1], size, size)


def symmetric_from_upper_triangle(vector: Tensor, size: int) -> Tensor:
    """Gradient with respect to a symmetric matrix, from the gradient with respect to its upper triangle.

    The symmetric part: off the diagonal each of the two entries gets half.
    """
    halved = 0.5 * vector
    halved.index_copy_(-1, (diagonal := _triangle(size, vector.device).diagonal), vector.index_select(-1, diagonal))
    return from_upper_triangle(halved, size)


def upper_pairs(values: Tensor) -> tuple[Tensor, Tensor]:
    """For `(..., n)`, the values at row and column of every entry of the upper triangle, each `(..., n (n + 1) / 2)`."""
    triangle = _triangle(values.shape[-1], values.device)
    return _take(values, triangle.rows), _take(values, triangle.columns)


def fill_diagonal(triangle: Tensor, size: int, value: float) -> Tensor:
    """Set the diagonal entries of an upper triangle `(..., n (n + 1) / 2)`, in place."""
    return triangle.index_fill_(-1, _triangle(size, triangle.device).diagonal, value)
