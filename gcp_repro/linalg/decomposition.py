"""Decompositions of batches of matrices, and which of their eigenvalues count.

Two ways lead to the thin singular value decomposition `X = U diag(s) V^T` of features: the eigendecomposition of the smaller Gram
matrix, which is fast and squares the condition number, and the decomposition of `X` itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from torch import Tensor

from gcp_repro.errors import GCPError, NonFiniteError
from gcp_repro.linalg.machinery.finite import all_finite
from gcp_repro.linalg.machinery.options import Above, AtLeast, Below
from gcp_repro.linalg.machinery.parallel import for_each_chunk
from gcp_repro.linalg.machinery.scratch import scratch

__all__ = [
    "Kept",
    "check_semi_definite",
    "decompose",
    "decompose_gram",
    "keep_largest",
    "nonzero_spectrum",
    "number_kept",
    "require_finite",
    "singular_values",
]


ONE_BY_ONE = torch.version.cuda is not None and torch.__version__ < "2.12"
"""Whether `eigh` takes the matrices of a batch on an NVIDIA GPU one by one: torch 2.12 and later give cuSOLVER all at once."""
BATCHED_ROWS = 32
"""Up to which earlier ones do, too."""


def require_finite(matrix: Tensor) -> None:
    """Refuse NaN and infinity, which LAPACK may answer by not returning.

    Raises:
        NonFiniteError: "... NaN or infinite entries: the features hold NaN ..."
    """
    if not all_finite(matrix):
        raise NonFiniteError(
            f"the covariance needs finite features; got NaN or infinite entries in a chunk of shape {tuple(matrix.shape)}: "
            "the features hold NaN or infinity, or their squares overflow; lower the learning rate, or "
            "build the layer with on_nonfinite='propagate' to let NaN through"
        )


def decompose(matrix: Tensor, on_host: bool = False, factor: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors, in columns, of symmetric `(b, n, n)`; reads the lower triangle.

    Args:
        matrix: On any device.
        on_host: Decompose on the CPU, one matrix a thread; the paper does, and batches on a GPU can still be slower.
        factor: `T`, `(b, m, n)`, if the matrix is `T^T T`. Where torch would take one matrix after another, a GPU decomposes
            this instead, and matrices without a factor go to the CPU.

    Returns:
        `(b, n)` and `(b, n, n)`; both may be scratch memory. The transpose of the eigenvectors is contiguous on the CPU.

    Raises:
        NonFiniteError: NaN or infinity in the matrix.
    """
    require_finite(matrix)
    if ONE_BY_ONE and matrix.device.type == "cuda" and not on_host:
        found = None if factor is None else _decompose_by_svd(factor)
        if found is not None:
            return found
        on_host = matrix.shape[-1] > BATCHED_ROWS
    eigenvalues, eigenvectors = _solve(_eigh, matrix, (matrix.shape[:-1], matrix.shape), on_host)
    return eigenvalues, eigenvectors


def decompose_gram(z: Tensor, by_columns: bool, on_host: bool = False) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors, in columns, of `Z^T Z` or `Z Z^T`.

    Args:
        z: `(b, m, n)`.
        by_columns: Decompose `Z^T Z`.
        on_host: As in `decompose`.

    Returns:
        `(b, k)` and `(b, k, k)`, for `k` columns or rows; both may be scratch memory.

    Raises:
        NonFiniteError: NaN or infinity in the Gram matrix.
    """
    if not by_columns:
        return decompose(z @ z.mT, on_host, z.mT)
    return decompose(torch.bmm(z.mT, z, out=scratch("gram", z, len(z), z.shape[-1], z.shape[-1])), on_host, z)


def _decompose_by_svd(factor: Tensor) -> tuple[Tensor, Tensor] | None:
    """Of `T^T T`, which is finite, from the singular value decomposition of `[T; d I]`; None where that gives up.

    `d^2` is of the order of the rounding errors of `T^T T`. Without it cuSOLVER's vectors are NaN for an eigenvalue of 0.
    """
    columns = factor.shape[-1]
    shift = 8 * torch.finfo(factor.dtype).eps * factor.square().sum((-2, -1), keepdim=True)
    shift = torch.where(shift > 0, shift, 1.0)
    rows = shift.sqrt() * torch.eye(columns, dtype=factor.dtype, device=factor.device)
    try:
        s, vt = _gesvda(torch.cat([factor, rows], -2))
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
        return None
    if not all_finite(s.sum() + vt.sum()):
        return None
    return (s.square() - shift.squeeze(-1)).flip(-1), vt.flip(-2).mT


def _gesvda(tall: Tensor) -> tuple[Tensor, Tensor]:
    """Singular values, descending, and `V^T`: cuSOLVER decomposes `T^T T`, the matrices of a batch at the same time."""
    _, s, vt = torch.linalg.svd(tall, full_matrices=False, driver="gesvda")
    return s, vt


def singular_values(matrix: Tensor, on_host: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Thin singular value decomposition `U`, `s`, `V^T` of `(b, C, N)`, `s` ascending.

    Rows are sorted by their norms first. Small singular values that come from rows of small norm are then right to a few units
    in the last place, whatever the condition number; others to that of the largest one.

    Raises:
        NonFiniteError: NaN or infinity in the matrix.

    Source:
        Cox and Higham, BIT 38 (1998), on sorted rows and Householder transformations.
    """
    require_finite(matrix)
    order = matrix.norm(dim=-1).argsort(-1, descending=True)
    rows = matrix.take_along_dim(order.unsqueeze(-1), -2)
    batch, m, n = matrix.shape
    k = min(m, n)
    u, s, vh = _solve(_svd, rows, ((batch, m, k), (batch, k), (batch, k, n)), on_host)
    left = u.take_along_dim(order.argsort(-1).unsqueeze(-1), -2)
    return left.flip(-1), s.flip(-1), vh.flip(-2)


def _eigh(matrix: Tensor) -> tuple[Tensor, ...]:
    values = scratch("eigenvalues", matrix, *matrix.shape[:-1])
    vectors = scratch("eigenvectors", matrix, *matrix.shape).mT  # LAPACK's order
    return tuple(torch.linalg.eigh(matrix, out=(values, vectors)))


def _svd(matrix: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.linalg.svd(matrix, full_matrices=False))


def _solve(
    function: Callable[[Tensor], tuple[Tensor, ...]], matrix: Tensor, shapes: Sequence[Sequence[int]], on_host: bool
) -> tuple[Tensor, ...]:
    """`function(matrix)` where the matrix is, or on the CPU if that is asked for or the device's solver gives up.

    Args:
        function: A decomposition.
        matrix: `(b, ...)`.
        shapes: Of the results.
        on_host: Decompose on the CPU.
    """
    if not on_host or matrix.device.type == "cpu":
        try:
            return function(matrix)
        except torch.linalg.LinAlgError:  # type: ignore[attr-defined]
            if matrix.device.type == "cpu":
                raise  # CUDA's solver gives up on some finite matrices that LAPACK decomposes: those go to the host
    host = matrix.cpu()
    results = [host.new_empty(tuple(shape)) for shape in shapes]

    def work(part: Tensor, *targets: Tensor) -> None:
        for target, source in zip(targets, function(part), strict=True):
            target.copy_(source)

    for_each_chunk(work, [host, *results], host[0].nbytes)
    return tuple(result.to(matrix.device) for result in results)


def check_semi_definite(eigenvalues: Tensor, dtype: torch.dtype) -> None:
    """Refuse spectra `(b, n)`, ascending, with an eigenvalue that rounding cannot have made negative.

    Args:
        eigenvalues: Of the matrix, in the dtype of the computation.
        dtype: That the matrix was given in: its entries were rounded to it.

    Raises:
        GCPError: "... positive semi-definite; got an eigenvalue of -1 ..."
    """
    smallest, largest = eigenvalues[..., 0], eigenvalues.abs().amax(-1)
    tolerance = torch.finfo(dtype).eps ** 0.5 * largest
    if bool((smallest < -tolerance).any()):
        raise GCPError(
            f"the matrix has to be positive semi-definite; got an eigenvalue of {smallest.min().item():.3g}: "
            "add a multiple of the identity, or use torch.linalg.eigh for indefinite matrices"
        )


def nonzero_spectrum(eigenvalues: Tensor, size: int, *, squared: bool = False) -> Tensor:
    """Set eigenvalues that are rounding noise, below `size * eps * l_max`, and those too small for a reciprocal to 0.

    Args:
        eigenvalues: `(b, n)`, ascending.
        size: Larger dimension of the features or the matrix.
        squared: They are squares of singular values, whose noise is `size * eps * s_max`.
    """
    info = torch.finfo(eigenvalues.dtype)
    share = size * info.eps
    noise = (eigenvalues[..., -1:] * (share * share if squared else share)).clamp(min=info.tiny)
    return torch.where(eigenvalues > noise, eigenvalues, 0.0)


Kept = Annotated[int, AtLeast(1)] | Annotated[float, Above(0), Below(1)] | None
"""Of the option `top_n`: how many of the largest eigenvalues, or what share of all of them."""


def number_kept(top_n: int | float | None, size: int) -> int | None:
    """How many of `size` eigenvalues `top_n` keeps; None for all.

    Example:
        >>> number_kept(0.78125, 64), number_kept(7, 64)
        (50, 7)
    """
    return max(1, round(top_n * size)) if isinstance(top_n, float) else top_n


def keep_largest(eigenvalues: Tensor, top_n: int | None, floor: float = 0.0) -> Tensor:
    """Set all but the `top_n` largest of `(b, n)` ascending eigenvalues to `floor` (eq. 11); `None` keeps all."""
    if top_n is None or top_n >= eigenvalues.shape[-1]:
        return eigenvalues
    kept = eigenvalues.clone()
    kept[..., : eigenvalues.shape[-1] - top_n] = floor
    return kept
