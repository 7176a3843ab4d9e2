"""Choose the fastest of several operators that compute the same function, by measuring them on the input at hand."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from gcp_repro.linalg.autograd import Operator, apply_operator

__all__ = ["clear_choices", "fastest"]

_choices: dict[tuple[tuple[Operator, ...], torch.Size, torch.dtype, torch.device], Operator] = {}


def fastest(candidates: Sequence[Operator], features: Tensor) -> Operator:
    """The candidate whose forward and backward take least time for features of this shape, dtype and device.

    Measured at the first call for a shape (each candidate once to warm up and the better of two runs), remembered for
    the process.

    Args:
        candidates: Operators of the same function; a single one is returned without measuring.
        features: `(B, C, N)`; its values are used for the measurement, its gradient is not touched.
    """
    if len(candidates) == 1:
        return candidates[0]
    key = (tuple(candidates), features.shape, features.dtype, features.device)
    if key not in _choices:
        _choices[key] = min(candidates, key=lambda candidate: _seconds(candidate, features))
    return _choices[key]


def clear_choices() -> None:
    """Forget all measurements."""
    _choices.clear()


def _seconds(operator: Operator, features: Tensor) -> float:
    times = []
    for _ in range(3):
        x = features.detach().clone().requires_grad_()
        _wait(x.device)
        start = time.perf_counter()
        with torch.enable_grad():
            apply_operator(operator, x).sum().backward()
        _wait(x.device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
