"""Diagonal Pade approximants of `1 / (1 - x)`, as published: coefficients from mpmath at 20 digits, evaluated by Horner.

`1 / (1 - x)` is rational itself, so the linear system for, say, the [50/50] approximant is singular, and which of its
infinitely many solutions comes out is decided by rounding at the 20th digit (numerator and denominator share 49 arbitrary
roots). The coefficients are therefore data, not something to recompute: `scripts/make_pade_coefficients.py` made them.
"""

from __future__ import annotations

import functools
import json
from importlib.resources import files

import torch
from torch import Tensor

from gcp_repro.errors import OptionError

__all__ = ["pade_approximant", "pade_coefficients"]


@functools.cache
def _table() -> dict[int, tuple[tuple[float, ...], tuple[float, ...]]]:
    data = json.loads(files("gcp_repro.linalg").joinpath("pade_coefficients.json").read_text())
    return {int(degree): (tuple(row["numerator"]), tuple(row["denominator"])) for degree, row in data.items()}


def pade_coefficients(degree: int = 100) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Numerator and denominator of the [K/2, K/2] approximant that matches `degree` = K Taylor terms, constant term first.

    Raises:
        OptionError: Degree not shipped. "Pade coefficients exist for degree 50, 100, 200, 300; got 80: ..."
    """
    table = _table()
    if degree not in table:
        raise OptionError(
            f"Pade coefficients exist for degree {', '.join(map(str, table))}; got {degree}: "
            "choose one of these or add it to scripts/make_pade_coefficients.py"
        )
    return table[degree]


def pade_approximant(x: Tensor, degree: int = 100) -> Tensor:
    """Value of the approximant at `x` in [0, 1], any shape and floating dtype; not bounded near its own poles around 1.

    Numerator and denominator by Horner's scheme in `x^8`, whose coefficients, polynomials of degree 7, are one product of
    matrices (Paterson and Stockmeyer, 1973).

    Example:
        >>> round(pade_approximant(torch.tensor(0.5, dtype=torch.float64)).item(), 12)
        2.0
    """
    numerator, denominator = _blocks(degree, x.device, x.dtype)
    powers = [torch.ones_like(x.flatten())]
    while len(powers) <= BLOCK:
        powers.append(powers[-1] * x.flatten())
    stacked = torch.stack(powers[:BLOCK])
    p, q = (_horner(blocks @ stacked, powers[BLOCK]) for blocks in (numerator, denominator))
    return p.div_(q).view_as(x)


BLOCK = 8


@functools.lru_cache(maxsize=32)
def _blocks(degree: int, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Coefficients of numerator and denominator in rows of `BLOCK`: the inner polynomials of Horner's scheme in `x^BLOCK`."""
    padded = [(*row, *[0.0] * (-len(row) % BLOCK)) for row in pade_coefficients(degree)]
    numerator, denominator = (torch.tensor(row, dtype=dtype, device=device).view(-1, BLOCK) for row in padded)
    return numerator, denominator


def _horner(coefficients: Tensor, x: Tensor) -> Tensor:
    """Horner's scheme, each coefficient `(M,)` a value of its own for each of `x` `(M,)`; the first is overwritten."""
    result = coefficients[-1]
    for coefficient in coefficients[:-1].flip(0).unbind():
        result.mul_(x).add_(coefficient)
    return result
