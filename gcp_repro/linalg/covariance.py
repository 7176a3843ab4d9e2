"""Covariance of features, and the upper triangle as a vector."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from gcp_repro.errors import ShapeError
from gcp_repro.linalg.feature_layout import as_positions
from gcp_repro.linalg.machinery.caches import keep_tensors
from gcp_repro.linalg.machinery.modes import in_own_precision, is_traced
from gcp_repro.linalg.machinery.scratch import scratch

__all__ = [
    "as_positions",
    "center",
    "contrasts",
    "count_contrasts",
    "covariance",
    "diagonal_of_triangle",
    "fill_diagonal",
    "from_upper_triangle",
    "symmetric_from_upper_triangle",
    "twice_symmetric_from_upper_triangle",
    "upper_pairs",
    "upper_triangle",
    "write_features",
    "write_upper_triangle_of_product",
]


def _in_words(x: object) -> str:
    return f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__


def center(features: Tensor) -> Tensor:
    """Features less their mean over positions, divided by `sqrt(N)`, so that `X X^T` is their covariance (eq. 1).

    Args:
        features: `(..., C, N)`.
    """
    scale: float = features.shape[-1] ** -0.5
    return (features - features.mean(-1, keepdim=True)).mul_(scale)


def count_contrasts(positions: int) -> int:
    """How many columns `contrasts` has: an even number, because products of matrices of odd sizes take longer."""
    return positions - positions % 2


def contrasts(features: Tensor, dtype: torch.dtype) -> Tensor:
    """`Z` with `Z Z^T = N P`, `P` the covariance (eq. 1), in scratch memory: the centred features, one column less for odd `N`.

    Centred features have the null vector `1`. With an odd number of positions it is left out: `Z = X H` with the last `N - 1`
    columns of the Householder reflection that maps `1` to an axis. This too takes one number a row from the features,
    `x_0 / sqrt(N) + (x_1 + ... + x_{N-1}) / (N + sqrt(N))` instead of their mean.

    Args:
        features: `(b, C, N)`.
        dtype: Of the contrasts.
    """
    size, root = features.shape[-1], features.shape[-1] ** 0.5
    columns = count_contrasts(size)
    total = features.sum(-1, keepdim=True, dtype=dtype)
    shift = total / size if columns == size else (total + root * features[..., :1].to(dtype)) / (size + root)
    result = scratch("contrasts", features, *features.shape[:-1], columns, dtype=dtype)
    return result.copy_(features[..., size - columns :]).sub_(shift)


def write_features(gradient: Tensor, output: Tensor) -> None:
    """The adjoint of `contrasts` for a gradient `(b, C, columns)` that is a product with `Z`; to `(b, C, N)`, of any dtype.

    Where `Z` has all columns, such a gradient has rows of sum zero, and nothing is left to do.
    """
    size, root = output.shape[-1], output.shape[-1] ** 0.5
    if gradient.shape[-1] == size:
        output.copy_(gradient)
        return
    total = gradient.sum(-1, keepdim=True)
    torch.mul(total, -1 / root, out=output[..., :1])
    torch.sub(gradient, total.div_(size + root), out=output[..., 1:])


def covariance(features: Tensor) -> Tensor:
    """Sample covariance `(..., C, C)` of features `(..., C, N)`, divided by `N` as in eq. 1; differentiable.

    In the dtype of the features, under autocast too: a covariance rounded to bfloat16 has lost its small eigenvalues.

    Raises:
        ShapeError: No floating-point features of at least one position.
    """
    if not isinstance(features, Tensor) or features.ndim < 2 or not features.shape[-1] or not features.is_floating_point():
        raise ShapeError(
            f"covariance needs floating-point features (..., C, N), N at least 1; got {_in_words(features)}: pass x.flatten(2) "
            "of maps (B, C, H, W)"
        )
    with in_own_precision(features):
        centered = center(features)
        return centered @ centered.mT


class _Block(NamedTuple):
    """Some rows of the upper triangle, from their first diagonal entry on, and where they go in the vector."""

    start: int
    stop: int
    first: int
    length: int
    entries: Tensor  # their flat positions in the block of rows


class _Triangle(NamedTuple):
    """Index tensors of the upper triangle of a square matrix, row by row."""

    rows: Tensor
    columns: Tensor
    to_vector: Tensor  # flat positions of the triangle in the matrix
    to_matrix: Tensor  # positions of all entries of the matrix in the triangle
    diagonal: Tensor  # positions of the diagonal in the triangle
    blocks: tuple[_Block, ...]


@keep_tensors(maxsize=64)
def _triangle(size: int, device: torch.device) -> _Triangle:
    rows, columns = torch.triu_indices(size, size, device=device)
    position = torch.arange(len(rows), device=device)
    to_matrix = torch.empty(size, size, dtype=torch.long, device=device)
    to_matrix[rows, columns] = position
    to_matrix[columns, rows] = position
    index = torch.arange(size, device=device)
    diagonal = index * size - index * (index - 1) // 2  # where each row of the triangle starts
    blocks = _make_blocks(size, device)
    return _Triangle(rows, columns, rows * size + columns, to_matrix.flatten(), diagonal, blocks)


UNDIVIDED = 128  # channels below which a product is not worth more than one call; on a GPU it never is


def _make_blocks(size: int, device: torch.device) -> tuple[_Block, ...]:
    undivided = size < UNDIVIDED or device.type != "cpu"
    step, blocks, first = size if undivided else -(-size // 4), [], 0
    for start in range(0, size, step):
        stop = min(start + step, size)
        rows, columns = torch.triu_indices(stop - start, size - start, device=device)
        blocks.append(_Block(start, stop, first, len(rows), rows * (size - start) + columns))
        first += len(rows)
    return tuple(blocks)


def _take(values: Tensor, index: Tensor) -> Tensor:
    """`values[..., index]`.

    On the CPU and without gradients `gather` takes two thirds of the time of `index_select`.
    """
    if values.device.type != "cpu" or values.ndim != 2 or torch.is_grad_enabled() or is_traced(values):
        return values.index_select(-1, index)
    return values.gather(-1, index.expand(len(values), -1))


def upper_triangle(matrix: Tensor) -> Tensor:
    """Upper triangle of `(..., C, C)`, row by row, `(..., C (C + 1) / 2)`: the order of `torch.triu_indices`.

    Raises:
        ShapeError: The last two sizes differ.

    Example:
        >>> upper_triangle(torch.tensor([[1, 2], [2, 3]])).tolist()
        [1, 2, 3]
    """
    if matrix.ndim < 2 or matrix.shape[-1] != matrix.shape[-2]:
        raise ShapeError(f"upper_triangle needs (..., C, C); got {_in_words(matrix)}: pass square matrices")
    return _take(matrix.flatten(-2), _triangle(matrix.shape[-1], matrix.device).to_vector)


def write_upper_triangle_of_product(left: Tensor, right: Tensor, diagonal: Tensor, output: Tensor) -> None:
    """Upper triangle of the symmetric `left @ right^T + diagonal I`, without most of the lower half of the product.

    Args:
        left: `(b, C, n)`.
        right: `(b, C, n)`, such that the product is symmetric.
        diagonal: `(b, 1)`.
        output: `(b, C (C + 1) / 2)`, of any dtype.
    """
    batch, size = left.shape[:2]
    for block in _triangle(size, left.device).blocks:
        height = block.stop - block.start
        product = scratch("block", left, batch, height, size - block.start)
        torch.bmm(left[:, block.start : block.stop], right[:, block.start :].mT, out=product)
        product.diagonal(dim1=-2, dim2=-1).add_(diagonal)
        part = output[:, block.first : block.first + block.length]
        target = part if part.dtype == left.dtype else scratch("triangle", left, *part.shape)
        torch.gather(product.flatten(1), 1, block.entries.expand(batch, -1), out=target)
        if target is not part:
            part.copy_(target)


def from_upper_triangle(vector: Tensor, size: int) -> Tensor:
    """The symmetric matrix `(..., size, size)` whose upper triangle is `vector`.

    Raises:
        ShapeError: The vector has another length than `size (size + 1) / 2`.
    """
    if vector.shape[-1] != size * (size + 1) // 2:
        raise ShapeError(
            f"from_upper_triangle needs (..., {size * (size + 1) // 2}) for size={size}; got {_in_words(vector)}: pass the rows "
            "of the matrix as size"
        )
    entries = _take(vector, _triangle(size, vector.device).to_matrix)
    return entries.reshape(*vector.shape[:-1], size, size)


def symmetric_from_upper_triangle(vector: Tensor, size: int) -> Tensor:
    """The gradient of a symmetric matrix from the gradient with respect to its upper triangle.

    The symmetric part: off the diagonal each of the two entries gets half.
    """
    halved = 0.5 * vector
    halved.index_copy_(-1, (diagonal := _triangle(size, vector.device).diagonal), vector.index_select(-1, diagonal))
    return from_upper_triangle(halved, size)


def twice_symmetric_from_upper_triangle(vector: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Twice the gradient of a symmetric matrix, `(b, size, size)`, in scratch memory; see `symmetric_from_upper_triangle`.

    Args:
        vector: `(b, size (size + 1) / 2)`, of any dtype.
        size: Rows of the matrix.
        dtype: Of the matrix.
    """
    batch = len(vector)
    wide = vector if vector.dtype == dtype else scratch("triangle", vector, *vector.shape, dtype=dtype).copy_(vector)
    matrix = scratch("symmetric", wide, batch, size, size)
    index = _triangle(size, vector.device).to_matrix
    torch.gather(wide, 1, index.expand(batch, -1), out=matrix.view(batch, -1))
    matrix.diagonal(dim1=-2, dim2=-1).mul_(2)
    return matrix


def upper_pairs(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """For `(..., n)` twice, the values at row and column of every entry of the upper triangle, each `(..., n (n + 1) / 2)`."""
    triangle = _triangle(rows.shape[-1], rows.device)
    return _take(rows, triangle.rows), _take(columns, triangle.columns)


def fill_diagonal(triangle: Tensor, size: int, value: float) -> Tensor:
    """Set the diagonal entries of an upper triangle `(..., n (n + 1) / 2)`, in place."""
    return triangle.index_fill_(-1, _triangle(size, triangle.device).diagonal, value)


def diagonal_of_triangle(triangle: Tensor) -> Tensor:
    """The upper triangle `(n (n + 1) / 2,)` of the identity that goes with upper triangles `(..., n (n + 1) / 2)`.

    Example:
        >>> diagonal_of_triangle(torch.zeros(2, 6)).tolist()
        [1.0, 0.0, 0.0, 1.0, 0.0, 1.0]
    """
    size = int((2 * triangle.shape[-1]) ** 0.5)  # between n and n + 1; a graph with open sizes has no math.isqrt
    ones = torch.ones(size, dtype=triangle.dtype, device=triangle.device)
    return upper_triangle(torch.diag_embed(ones))
