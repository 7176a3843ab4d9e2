"""What several layers need of batches of square matrices, by operators that autograd differentiates and exporters know."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["divisor", "identity_like", "newton_schulz_iteration", "newton_schulz_step", "newton_schulz_steps", "trace"]


def trace(matrix: Tensor) -> Tensor:
    """Of `(..., n, n)`, as `(..., 1, 1)`."""
    return matrix.diagonal(dim1=-2, dim2=-1).sum(-1)[..., None, None]


def divisor(scale: Tensor) -> Tensor:
    """`scale`, with 1 for what is 0 or so small that its reciprocal overflows: what it is to divide is as small, and stays so."""
    inverse = scale.detach().reciprocal()  # exporters round a smallest number to float32, where it is 0
    return torch.where((inverse > 0) & (inverse < torch.inf), scale, 1.0)


def identity_like(matrix: Tensor) -> Tensor:
    """`(n, n)`, for matrices `(..., n, n)`."""
    return torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)


def newton_schulz_iteration(a: Tensor, num_iterations: int) -> tuple[Tensor, Tensor]:
    """`Y_K` and `Z_K` from `Y_0 = A`, `Z_0 = I`, by at least one step (eq. 7): towards `A^(1/2)` and `A^(-1/2)`.

    Args:
        a: Symmetric, `(b, n, n)`, with eigenvalues in `[0, 1]`.
        num_iterations: K.
    """
    step = newton_schulz_step(a.clone(), identity_like(a))
    return newton_schulz_steps(a @ step, step, num_iterations - 1)


def newton_schulz_steps(y: Tensor, z: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """So many iterates further."""
    identity = identity_like(y)
    for _ in range(count):
        step = newton_schulz_step(z @ y, identity)
        y, z = y @ step, step @ z
    return y, z


def newton_schulz_step(product: Tensor, identity: Tensor) -> Tensor:
    """`S = (3 I - Z_k Y_k) / 2`, in the place of the product; `Y_{k+1} = Y_k S` and `Z_{k+1} = S Z_k`."""
    return product.mul_(-0.5).add_(identity, alpha=1.5)
