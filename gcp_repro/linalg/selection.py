"""Choose the fastest of several operators that compute the same function, by measuring them on the device at hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence

import torch
from torch import Tensor

from gcp_repro.linalg.autograd import Operator, apply_operator

__all__ = ["clear_choices", "fastest"]

_Key = tuple[tuple[Operator, ...], torch.Size, torch.dtype, torch.device]

_choices: dict[_Key, Operator] = {}
_lock = threading.Lock()


def fastest(candidates: Sequence[Operator], features: Tensor) -> Operator:
    """The candidate whose forward and backward take least time for features of this shape, dtype and device.

    Measured at the first call for a shape (each candidate once to warm up and the better of two runs), remembered for
    the process. The measurement has features and a generator of its own, so that it depends on neither the data nor the
    random state, and a thread of its own, so that the caller may be in inference mode, under autocast, or in a transform
    of `torch.func`.

    Args:
        candidates: Operators of the same function; a single one is returned without measuring.
        features: `(B, C, N)`; only its shape, dtype and device are used.
    """
    if len(candidates) == 1 or features.shape[0] == 0:
        return candidates[0]
    key = (tuple(candidates), features.shape, features.dtype, features.device)
    with _lock:
        if key not in _choices:
            _choices[key] = _measure(key)
        return _choices[key]


def clear_choices() -> None:
    """Forget all measurements."""
    with _lock:
        _choices.clear()


def _measure(key: _Key) -> Operator:
    """The fastest of the candidates in `key`, found in another thread: torch's modes belong to the thread that set them."""
    candidates, shape, dtype, device = key
    seconds: dict[Operator, float] = {}

    def work() -> None:
        features = _typical_features(shape, dtype, device)
        for candidate in candidates:
            seconds[candidate] = _seconds(candidate, features)

    thread = threading.Thread(target=work, name="gcp_repro_selection")
    thread.start()
    thread.join()
    return min(candidates, key=lambda candidate: seconds.get(candidate, float("inf")))


def _typical_features(shape: torch.Size, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Rectified noise whose channels differ in scale by a factor of up to 100: condition numbers as trained features have."""
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).relu()
    scales = torch.logspace(0, -2, shape[-2]).unsqueeze(-1)
    return (noise * scales).to(device, dtype)


def _seconds(operator: Operator, features: Tensor) -> float:
    """Of the better of two runs; infinite where it fails, as for lack of memory."""
    times = []
    try:
        for _ in range(3):
            x = features.clone().requires_grad_()
            _wait(x.device)
            start = time.perf_counter()
            apply_operator(operator, x).sum().backward()
            _wait(x.device)
            times.append(time.perf_counter() - start)
    except RuntimeError:
        return float("inf")
    return min(times[1:])


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
