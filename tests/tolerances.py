"""Tolerances of the numerical tests: bounds of the rounding error, which hold on every machine, not the error of one.

Machines differ in the order of sums, the width of vectors, fused multiply-adds and libraries. A bound of the form
`factor * size * eps * condition` covers all of these: `size` counts the roundings that an entry goes through, `condition` what
the problem makes of each. LAPACK's own test programs pass below 30 in these units (LAPACK Working Note 41), so `FACTOR` is 30.
"""

from __future__ import annotations

import torch
from torch import Tensor

FACTOR = 30
TIME_LIMIT = 1800
"""Seconds after which a test that waits for another process or thread gives up: to end what hangs, on the busiest machine."""


def rounding(size: float = 1, condition: float = 1.0, dtype: torch.dtype = torch.float64) -> float:
    """Bound of the relative error of a backward stable computation.

    Args:
        size: Length of the sums; for a decomposition the order of the matrix.
        condition: Relative change of the result for a relative change of what it is computed from.
        dtype: That of the computation.
    """
    return FACTOR * size * torch.finfo(dtype).eps * float(condition)


def relative_error(computed: Tensor, expected: Tensor) -> float:
    """Largest error, relative to the largest entry."""
    computed, expected = torch.as_tensor(computed).double(), torch.as_tensor(expected).double()
    scale = expected.abs().max().item()
    difference = (computed - expected).abs().max().item()
    return difference / scale if scale else difference


def spread(values: Tensor) -> float:
    """Largest over smallest positive value: the condition of gradients through eigenvalues (docs/mathematics.md, section 2)."""
    positive = values[values > 0]
    return (positive.max() / positive.min()).item()
