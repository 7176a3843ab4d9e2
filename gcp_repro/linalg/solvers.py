"""Which solver a layer takes where `solver="auto"` leaves it open: by rule, or by what was measured on this machine.

`solver_for` is the rule. Measurements, made by `gcp-bench tune`, take its place while a training uses them: the fastest solver
for the kind of work at the nearest size. Compiled and exported graphs follow the rule: they have no sizes
when they are made.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from torch import Tensor

from gcp_repro.linalg.machinery.modes import is_traced
from gcp_repro.linalg.pooling import PoolingSpec, operators_for, solver_for

__all__ = ["SolverTime", "Solvers", "active_solvers", "has_choice", "using", "work_of"]

FARTHEST = 2.0
"""Doublings of channels and positions, together, up to which a measurement still says something."""


@dataclass(frozen=True)
class SolverTime:
    """Seconds that one solver took for one kind of work.

    Attributes:
        device: Its type, as in `torch.device`.
        work: As `work_of` says.
        channels: C of the features.
        positions: N of the features.
        solver: As in `PoolingSpec`.
        seconds: Forward and backward of a batch, the same batch for all solvers of a size.
    """

    device: str
    work: str
    channels: int
    positions: int
    solver: str
    seconds: float


def work_of(spec: PoolingSpec) -> str:
    """What decides how long the solvers take, apart from the size."""
    exact = "exact" if spec.rule.is_exact_for(spec.function) else "table"
    route = "dense" if spec.route == "dense" else "gram"
    return f"{spec.function.kind} {exact} {route} {spec.dtype} {spec.accuracy}"


def has_choice(spec: PoolingSpec) -> bool:
    """Whether there are several ways to compute it, and none is asked for."""
    return spec.solver == "auto" and len(operators_for(spec, 2)) > 1


class Solvers:
    """The choices of a run: the same size of the same work always gets the same solver.

    Args:
        times: Measurements to go by; none for the rule alone.
    """

    def __init__(self, times: Iterable[SolverTime] = ()) -> None:
        self.times = tuple(times)
        self._taken: dict[tuple[str, str, int, int], str] = {}

    def recipe(self, spec: PoolingSpec, features: Tensor) -> str:
        """The text of `spec` for features `(B, C, N)`, with the solver in it."""
        if is_traced(features) or not has_choice(spec):
            return spec.text
        key = (spec.text, features.device.type, int(features.shape[-2]), int(features.shape[-1]))
        if key not in self._taken:
            self._taken[key] = self._fastest(spec, *key[1:]) or solver_for(spec, features.device)
        return _with_solver(spec, self._taken[key]).text

    @property
    def taken(self) -> set[str]:
        """Solvers that were chosen so far."""
        return set(self._taken.values())

    def _fastest(self, spec: PoolingSpec, device: str, channels: int, positions: int) -> str | None:
        """By the measurements of the nearest size; None if there are none near.

        The same work may have been measured with a solver that `spec` does not have, as the root of another moment.
        """
        kind, solvers = (device, work_of(spec)), operators_for(spec, 2)
        own = [time for time in self.times if (time.device, time.work) == kind and time.solver in solvers]

        def distance(time: SolverTime) -> float:
            return abs(math.log2(time.channels / channels)) + abs(math.log2(time.positions / positions))

        nearest = min(own, key=distance, default=None)
        if nearest is None or distance(nearest) > FARTHEST:
            return None
        size = (nearest.channels, nearest.positions)
        return min((time for time in own if (time.channels, time.positions) == size), key=lambda time: time.seconds).solver


@functools.lru_cache(maxsize=512)
def _with_solver(spec: PoolingSpec, solver: str) -> PoolingSpec:
    return replace(spec, solver=solver)  # type: ignore[arg-type]


_active = [Solvers()]


def active_solvers() -> Solvers:
    """Those that layers ask."""
    return _active[-1]


@contextmanager
def using(solvers: Solvers) -> Iterator[None]:
    """Let all layers of the process, in every thread, ask these.

    Of several in use they ask those that came last, in whatever order the others go.
    """
    _active.append(solvers)
    try:
        yield
    finally:
        del _active[max(i for i, active in enumerate(_active) if active is solvers)]
