"""Timing on noisy machines: candidates take turns, and are compared round by round."""

from __future__ import annotations

import gc
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = [
    "CLOCKS",
    "PHASES",
    "Sample",
    "Trial",
    "median",
    "minimum",
    "minimum_ratio",
    "paired_ratio",
    "take_turns",
    "torch_threads",
]

PHASES = ("forward", "backward", "total")

CLOCKS: dict[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""By name: the time that passes, and the time that this process's threads spend computing, all together."""

Key = TypeVar("Key")


@dataclass(frozen=True)
class Sample:
    """Seconds that one forward and the backward after it took."""

    forward: float
    backward: float

    @property
    def total(self) -> float:
        """Seconds of both."""
        return self.forward + self.backward


class Trial:
    """One forward and backward of a module, ready to be repeated.

    Args:
        module: Maps the features to a tensor. The gradient is taken with respect to the features and its parameters.
        features: `(B, C, H, W)`, on the device to be measured.
        upstream: Gives the gradient of the loss with respect to an output of the given shape, on the features' device.
        clock: Seconds, from some moment on.
    """

    def __init__(
        self,
        module: nn.Module,
        features: Tensor,
        upstream: Callable[[torch.Size], Tensor],
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self.module, self.features, self.clock = module, features.detach().requires_grad_(), clock
        self.inputs = [self.features, *(parameter for parameter in module.parameters() if parameter.requires_grad)]
        output = self.module(self.features)  # what is made on first use (index tensors, threads) is no part of the time
        self.upstream = upstream(output.shape)
        torch.autograd.grad(output, self.inputs, self.upstream)

    def run(self) -> Sample:
        """Run once; on CUDA the clock is read when the device has finished."""
        start = self._now()
        output = self.module(self.features)
        between = self._now()
        gradients = torch.autograd.grad(output, self.inputs, self.upstream)
        end = self._now()
        del output, gradients
        return Sample(between - start, end - between)

    def _now(self) -> float:
        if self.features.is_cuda:
            torch.cuda.synchronize(self.features.device)
        return self.clock()


def take_turns(
    candidates: Mapping[Key, Callable[[], Sample]], rounds: int, after_each: Callable[[], object] = lambda: None
) -> dict[Key, list[Sample]]:
    """Samples of all candidates in rounds, in another order each, the same for every call.

    A machine that slows down for a while then slows all of them, and samples of the same round are comparable. What one leaves
    behind (busy threads, an empty cache, memory given back) falls on one candidate as often as on another.

    Args:
        candidates: What to run.
        rounds: Samples of each.
        after_each: Called after every sample.
    """
    samples: dict[Key, list[Sample]] = {key: [] for key in candidates}
    collecting = gc.isenabled()
    gc.disable()
    try:
        for index in range(rounds):
            gc.collect()
            for key in random.Random(index).sample(list(candidates), len(candidates)):
                samples[key].append(candidates[key]())
                after_each()
    finally:
        if collecting:
            gc.enable()
    return samples


def _seconds(samples: Sequence[Sample], phase: str) -> list[float]:
    return [getattr(sample, phase) for sample in samples]


def minimum(samples: Sequence[Sample], phase: str) -> float:
    """Fewest seconds of one of the `PHASES`."""
    return min(_seconds(samples, phase))


def median(samples: Sequence[Sample], phase: str) -> float:
    """Median of the seconds of one of the `PHASES`."""
    return statistics.median(_seconds(samples, phase))


def paired_ratio(above: Sequence[Sample], below: Sequence[Sample], phase: str = "total") -> float:
    """Median over the rounds of the quotient of two candidates' times in the same round.

    Example:
        >>> paired_ratio([Sample(2, 2), Sample(40, 40)], [Sample(1, 1), Sample(20, 20)])
        2.0
    """
    pairs = zip(_seconds(above, phase), _seconds(below, phase), strict=True)
    return statistics.median(one / other for one, other in pairs)


def minimum_ratio(above: Sequence[Sample], below: Sequence[Sample], phase: str = "total") -> float:
    """Quotient of two candidates' fewest seconds."""
    return minimum(above, phase) / minimum(below, phase)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads for the duration."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
