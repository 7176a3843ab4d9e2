"""What several layers need of batches of square matrices, by operators that autograd differentiates and exporters know."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "divisor",
    "identity_like",
    "newton_schulz_backward",
    "newton_schulz_iterates",
    "newton_schulz_iteration",
    "newton_schulz_step",
    "pairs",
    "trace",
]

Iterates = Sequence[tuple[Tensor, Tensor]]
"""`(Y_1, Z_1), ..., (Y_{K-1}, Z_{K-1})` of a Newton-Schulz iteration, each `(b, n, n)`."""


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
    identity = identity_like(a)
    step = newton_schulz_step(a.clone(), identity)
    y, z = a @ step, step
    for _ in range(num_iterations - 1):
        step = newton_schulz_step(z @ y, identity)
        y, z = y @ step, step @ z
    return y, z


def newton_schulz_step(product: Tensor, identity: Tensor) -> Tensor:
    """`S = (3 I - Z_k Y_k) / 2`, in the place of the product; `Y_{k+1} = Y_k S` and `Z_{k+1} = S Z_k`."""
    return product.mul_(-0.5).add_(identity, alpha=1.5)


def newton_schulz_iterates(a: Tensor, kept: Iterates) -> tuple[Tensor, Tensor, Tensor]:
    """`Y_{K-1}`, `Z_{K-1}` and the last step `S`, in the published order of products; writes the iterates to `kept`.

    The results are `Y_K = Y_{K-1} S` and `Z_K = S Z_{K-1}`. Without iterates `Z_0`, the identity, comes as a view.

    Args:
        a: Symmetric, `(b, n, n)`, with eigenvalues in `[0, 1]`.
        kept: Where the iterates go; their number is K - 1.
    """
    identity = identity_like(a)
    y, z = a, identity.expand_as(a)
    step = newton_schulz_step(a.clone(), identity)
    for index, (y_kept, z_kept) in enumerate(kept):
        y = torch.bmm(y, step, out=y_kept)
        z = torch.bmm(step, z, out=z_kept) if index else z_kept.copy_(step)
        step = newton_schulz_step(z @ y, identity)
    return y, z, step


def newton_schulz_backward(a: Tensor, kept: Iterates, by_y: Tensor | None, by_z: Tensor | None) -> tuple[Tensor, Tensor]:
    """Reverse the iteration for a gradient by `Y_K` or by `Z_K`, the other being None; a step costs at most seven products.

    Args:
        a: As in `newton_schulz_iterates`.
        kept: The iterates that it wrote.
        by_y: The gradient by `Y_K`, `(b, n, n)`.
        by_z: The gradient by `Z_K`.

    Returns:
        The gradient by `A`, not made symmetric, and `Y_K` or `Z_K`, whichever the gradient was by.
    """
    identity, last = identity_like(a), None
    for y, z in reversed(kept):
        step = newton_schulz_step(z @ y, identity)
        if last is None:
            last = step @ z if by_y is None else y @ step
        by_step = _sum(None if by_y is None else y @ by_y, None if by_z is None else by_z @ z)
        from_step = (by_step @ y).mul_(-0.5)
        by_z = from_step if by_z is None else from_step.baddbmm_(step, by_z)
        by_y = (z @ by_step).mul_(-0.5) if by_y is None else torch.baddbmm(z @ by_step, by_y, step, beta=-0.5)
    step = newton_schulz_step(a.clone(), identity)  # the first one has Y_0 = A, Z_0 = I
    if by_y is None:
        assert by_z is not None
        return by_z.mul(-0.5), step
    by_a = (by_y @ step).sub_(a @ by_y, alpha=0.5)
    return by_a if by_z is None else by_a.sub_(by_z, alpha=0.5), a @ step if last is None else last


def _sum(first: Tensor | None, second: Tensor | None) -> Tensor:
    if first is None or second is None:
        total = second if first is None else first
        assert total is not None
        return total
    return first + second


def pairs(saved: Sequence[Tensor]) -> Iterates:
    """Iterates from how they are kept: `Y_1`, `Z_1`, `Y_2` and so on."""
    return list(zip(saved[::2], saved[1::2], strict=True))
