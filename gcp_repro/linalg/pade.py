"""Diagonal Pade approximants of `1 / (1 - x)`, as published: coefficients from mpmath at 20 digits, evaluated by Horner.

`1 / (1 - x)` is rational itself, so the linear system for, say, the [50/50] approximant is singular, and which of its
infinitely many solutions comes out is decided by rounding at the 20th digit (numerator and denominator share 49 arbitrary
roots). The coefficients are therefore data, not something to recompute: `scripts/make_pade_coefficients.py` made them.
"""

from __future__ import annotations

import functools
import json
from importlib.resources import files

import numpy as np
import torch
from torch import Tensor

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.caches import keep_tensors

__all__ = ["pade_approximant", "pade_coefficients", "pade_degrees"]


@functools.cache
def _table() -> dict[int, tuple[tuple[float, ...], tuple[float, ...]]]:
    data = json.loads(files("gcp_repro.linalg").joinpath("pade_coefficients.json").read_text())
    return {int(degree): (tuple(row["numerator"]), tuple(row["denominator"])) for degree, row in data.items()}


def pade_degrees() -> tuple[int, ...]:
    """Degrees for which there are coefficients."""
    return tuple(_table())


def pade_coefficients(degree: int = 100) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Numerator and denominator of the [K/2, K/2] approximant that matches `degree` = K Taylor terms, constant term first.

    Raises:
        OptionError: Degree not shipped. "Pade coefficients exist for degree 50, 100, 200, 300; got 80: ..."
    """
    table = _table()
    if degree not in table:
        raise OptionError(f"Pade coefficients exist for degree {', '.join(map(str, table))}; got {degree}: choose one of these")
    return table[degree]


def pade_approximant(x: Tensor, degree: int = 100) -> Tensor:
    """Value of the approximant at `x` in [0, 1], any shape and floating dtype; not bounded near its own poles around 1.

    Numerator and denominator together by Horner's scheme in `x^13`, whose coefficients, polynomials of degree 12, are one
    product of matrices (Paterson and Stockmeyer, 1973). At exactly 1, where rounding decides everything, the value is that of
    the published sum, term by term: infinite for degree 100, whose denominator adds up to 0.

    Example:
        >>> round(pade_approximant(torch.tensor(0.5, dtype=torch.float64)).item(), 12)
        2.0
    """
    coefficients = _blocks(degree, x.device, x.dtype)
    part = CPU_PART if x.device.type == "cpu" else GPU_PART
    pieces: tuple[Tensor, ...] = torch.split(x.flatten(), part)
    quotients = torch.cat([_quotient(coefficients, piece) for piece in pieces]).view_as(x)
    return quotients.masked_fill_(x == 1, _value_at_one(degree, x.dtype))


BLOCK = 13  # of the 26, 51, 101 and 151 coefficients, whole blocks but for 0, 1, 3 and 5
CPU_PART = 2**15  # values at a time: their powers take 3.3 MiB in float64, and smaller parts mean more calls (see `parallel`)
GPU_PART = 2**22  # so that they stay below 512 MiB


def _quotient(coefficients: Tensor, x: Tensor) -> Tensor:
    powers, next_power = _powers(x)
    inner = (coefficients @ powers).view(len(coefficients) // 2, 2, len(x))
    result = inner[-1]
    for index in range(len(inner) - 2, -1, -1):
        result = torch.addcmul(inner[index], result, next_power)
    return result[0] / result[1]


@functools.cache
def _value_at_one(degree: int, dtype: torch.dtype) -> float:
    """Quotient of the sums of the coefficients, added one after another in `dtype`."""
    kind = np.float64 if dtype == torch.float64 else np.float32
    with np.errstate(divide="ignore"):
        numerator, denominator = (np.add.accumulate(np.array(row, kind))[-1] for row in pade_coefficients(degree))
        return float(numerator / denominator)


@keep_tensors(maxsize=32)
def _blocks(degree: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Coefficients of the inner polynomials of Horner's scheme in `x^BLOCK`; rows of numerator and denominator take turns."""
    padded = [(*row, *[0.0] * (-len(row) % BLOCK)) for row in pade_coefficients(degree)]
    return torch.tensor(padded, dtype=dtype, device=device).view(2, -1, BLOCK).transpose(0, 1).reshape(-1, BLOCK)


def _powers(x: Tensor) -> tuple[Tensor, Tensor]:
    """`x^0 ... x^(BLOCK - 1)` of `(M,)` as rows, and `x^BLOCK`; every pass doubles their number."""
    powers = x.new_empty(BLOCK, len(x))
    powers[0], powers[1] = 1.0, x
    known = 2
    while known < BLOCK:
        new = min(known - 1, BLOCK - known)
        torch.mul(powers[1 : new + 1], powers[known - 1], out=powers[known : known + new])
        known += new
    return powers, powers[-1] * x
