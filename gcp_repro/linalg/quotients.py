"""Quotients: what takes the place of `1 / (l_i - l_j)` of a larger and a smaller eigenvalue in the rules of the paper.

To add one: write the function, name it below, and see `docs/adding_a_rule.md` for the layer's row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import torch
from torch import Tensor

from gcp_repro.linalg.machinery.options import Above, AtLeast, OneOf
from gcp_repro.linalg.pade import pade_approximant, pade_degrees
from gcp_repro.registry import Registry

__all__ = ["DIFFERENCE_QUOTIENTS", "geometric_sum"]

PADE_DEGREES = OneOf(pade_degrees, "the degrees whose coefficients the package has")


def svd(larger: Tensor, smaller: Tensor) -> Tensor:
    """`1 / (l_i - l_j)`: the ordinary gradient of the eigendecomposition (eq. 5); unbounded."""
    return (larger - smaller).reciprocal()


def trunc(larger: Tensor, smaller: Tensor, *, max_gradient: Annotated[float, Above(0)] = 1e10) -> Tensor:
    """`min(1 / (l_i - l_j), T)` (eq. 12); bound `T = max_gradient`."""
    return svd(larger, smaller).clamp(max=max_gradient)


def taylor(larger: Tensor, smaller: Tensor, *, degree: Annotated[int, AtLeast(0)] = 100) -> Tensor:
    """`(1 + x + ... + x^K) / l_i` with `x = l_j / l_i` (eqs. 14 to 16, after Wang et al. 2019); bound `(K + 1) / l_i`."""
    return geometric_sum(smaller / larger, degree).div_(larger)


def geometric_sum(x: Tensor, degree: int) -> Tensor:
    """`1 + x + ... + x^degree` in about `2 log2(degree)` multiplications: `T_{2m+1} = T_m (1 + x^{m+1})`, `T_{k+1} = 1 + x T_k`.

    Example:
        >>> geometric_sum(torch.tensor(2.0), 6).item()
        127.0
    """
    total, power = torch.ones_like(x), x  # T_0 and x^(0 + 1)
    for bit in bin(degree + 1)[3:]:  # degree + 1 terms, from the second binary digit on
        total = total.addcmul(total, power)
        power = power * power
        if bit == "1":
            total.mul_(x).add_(1.0)
            power = power * x
    return total


def pade(larger: Tensor, smaller: Tensor, *, degree: Annotated[int, PADE_DEGREES] = 100) -> Tensor:
    """`P(x) / Q(x) / l_i` with the diagonal Pade approximant that matches `degree` Taylor terms (eq. 21).

    Not bounded: the denominator is zero at `x = 1` to rounding. The paper states `6.48e20 / l_i` (see docs/paper_notes.md).
    """
    return pade_approximant(smaller / larger, degree) / larger


DIFFERENCE_QUOTIENTS: Registry[Callable[..., Tensor]] = Registry("difference quotient")
"""The quotients by name; each maps `(larger, smaller)` eigenvalues to positive numbers, with its options as keyword arguments."""

for _quotient in (svd, trunc, taylor, pade):
    DIFFERENCE_QUOTIENTS.add(_quotient.__name__, _quotient, built_in=True)
