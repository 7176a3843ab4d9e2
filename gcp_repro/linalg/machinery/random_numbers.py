"""Random numbers as an operator of torch: they follow from a seed, the number of draws so far, and the process.

A generator of torch has no place in a compiled graph, and its numbers depend on the device.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from gcp_repro.linalg.machinery.ops import OPS

__all__ = ["uniform"]

_library = torch.library.Library("gcp_repro", "FRAGMENT")  # type: ignore[no-untyped-call]


def uniform(state: Tensor, rows: int, columns: int, device: torch.device) -> Tensor:
    """Numbers in [0, 1), `(rows, columns)` in float64 on the device; others in every process of a group.

    Args:
        state: Seed and number of draws so far, int64.
        rows: How many of them.
        columns: How many in a row.
        device: Where they are needed.
    """
    numbers: Tensor = OPS.uniform(state, rows, columns)
    return numbers.to(device)


def _rank() -> int:
    group = torch.distributed
    return group.get_rank() if group.is_available() and group.is_initialized() else 0


def _uniform(state: Tensor, rows: int, columns: int) -> Tensor:
    seed, draws = state.tolist()
    numbers = np.random.default_rng((seed, draws, _rank())).random((rows, columns))
    return torch.tensor(numbers, device=state.device)


def _fake_uniform(state: Tensor, rows: int, columns: int) -> Tensor:
    return state.new_empty(rows, columns, dtype=torch.float64)


_library.define("uniform(Tensor state, SymInt rows, SymInt columns) -> Tensor")  # type: ignore[no-untyped-call]
_library.impl("uniform", _uniform, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("gcp_repro::uniform", _fake_uniform, lib=_library)
