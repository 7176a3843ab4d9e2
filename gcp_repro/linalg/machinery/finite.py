"""Whether numbers are finite, in few operators: each is a pass over memory on a CPU, and a kernel on a GPU."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["all_finite"]


def all_finite(values: Tensor) -> bool:
    """Whether no value is NaN or infinite, of any shape and floating dtype; waits for the device.

    Their sum decides, and where it overflows each of them.
    """
    total = values.sum()
    return bool(total - total == 0) or bool(torch.isfinite(values).all())
