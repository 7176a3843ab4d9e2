"""Covariance of features, and the upper triangle as a vector."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

from gcp_repro.errors import ShapeError

__all__ = ["as_positions", "center", "covariance", "from_upper_triangle", "symmetric_from_upper_triangle", "upper_triangle"]


def as_positions(features: Tensor) -> Tensor:
    """View feature maps `(B, C, H, W)` as `(B, C, H * W)`; `(B, C, N)` is returned as it is.

    Raises:
        ShapeError: Another number of dimensions, a size of 0, or not a floating dtype.
    """
    if features.ndim not in (3, 4) or 0 in features.shape[1:] or not features.is_floating_point():
        raise ShapeError(
            "features must be floating point, (B, C, H, W) or (B, C, N) with C and N at least 1; "
            f"got {features.dtype} {tuple(features.shape)}: keep the spatial dimensions and drop the backbone's own pooling"
        )
    return features.flatten(2)


def center(features: Tensor) -> Tensor:
    """Features less their mean over positions, divided by `sqrt(N)`, so that `X X^T` is their covariance (eq. 1).

    Args:
        features: `(..., C, N)`.
    """
    return (features - features.mean(-1, keepdim=True)).mul_(features.shape[-1] ** -0.5)


def covariance(features: Tensor) -> Tensor:
    """Sample covariance `(..., C, C)` of features `(..., C, N)`, divided by `N` as in eq. 1; differentiable."""
    centered = (features - features.mean(-1, keepdim=True)) * features.shape[-1] ** -0.5
    return centered @ centered.mT


@functools.lru_cache(maxsize=64)
def _triangle_index(size: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Flat positions of the triangle in the matrix, of the matrix in the triangle, and 1 on / 1/2 off the diagonal."""
    rows, columns = torch.triu_indices(size, size, device=device)
    to_vector = rows * size + columns
    to_matrix = torch.empty(size, size, dtype=torch.long, device=device)
    position = torch.arange(len(rows), device=device)
    to_matrix[rows, columns] = position
    to_matrix[columns, rows] = position
    return to_vector, to_matrix.flatten(), torch.where(rows == columns, 1.0, 0.5)


def upper_triangle(matrix: Tensor) -> Tensor:
    """Upper triangle of `(..., C, C)`, row by row, `(..., C (C + 1) / 2)`: the order of `torch.triu_indices`.

    Example:
        >>> upper_triangle(torch.tensor([[1, 2], [2, 3]])).tolist()
        [1, 2, 3]
    """
    index, _, _ = _triangle_index(matrix.shape[-1], matrix.device)
    return matrix.flatten(-2).index_select(-1, index)


def from_upper_triangle(vector: Tensor, size: int) -> Tensor:
    """The symmetric matrix `(..., size, size)` whose upper triangle is `vector`."""
    _, index, _ = _triangle_index(size, vector.device)
    return vector.index_select(-1, index).unflatten(-1, (size, size))


def symmetric_from_upper_triangle(vector: Tensor, size: int) -> Tensor:
    """Gradient with respect to a symmetric matrix, from the gradient with respect to its upper triangle.

    The symmetric part: off the diagonal each of the two entries gets half.
    """
    weights = _triangle_index(size, vector.device)[2].to(vector.dtype)
    return from_upper_triangle(vector * weights, size)
