"""What `gcp-bench layers` shows: tables of times and ratios, and how far it has come."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from gcp_repro.bench.layer_records import Comparison, Measurement, published_seconds
from gcp_repro.bench.timing import PHASES, median, minimum

__all__ = ["Steps", "comparison_table", "make_console", "measurement_table"]

TABLE_WIDTH = 150


def make_console(*, stderr: bool = False) -> Console:
    """A console that is wide enough for the tables where the width is not a terminal's."""
    console = Console(stderr=stderr, highlight=False)
    return console if console.is_terminal else Console(stderr=stderr, width=TABLE_WIDTH)


def measurement_table(measurements: Sequence[Measurement]) -> Table:
    """Times and memory of all candidates at one shape, beside the paper's Table 5 where it speaks of that shape."""
    shape = measurements[0].shape
    published = {m.case: [published_seconds(m.case, shape, phase) for phase in PHASES] for m in measurements}
    with_paper = any(seconds is not None for row in published.values() for seconds in row)
    table = Table(title=f"{shape}: milliseconds, minimum | median of {max(len(m.samples) for m in measurements)} rounds")
    for name in ("origin", "layer", "route", "dtype", "accuracy"):
        table.add_column(name, no_wrap=True)
    for name in (*PHASES, "MiB extra", "x limit"):
        table.add_column(name, justify="right", no_wrap=True)
    if with_paper:
        for phase in PHASES:
            table.add_column(f"paper {phase}", justify="right")
        table.caption = "Paper: Table 5, a batch of 128 on AlexNet; eigendecomposition on the CPU, the rest on a GPU."
    for m in measurements:
        paper = [_number(seconds and 1e3 * seconds, ".0f") for seconds in published[m.case]] if with_paper else []
        times = [_milliseconds(m, phase) for phase in PHASES] if m.samples else ["failed", "", ""]
        memory = None if m.peak_bytes is None else m.peak_bytes / 2**20
        case = m.case
        table.add_row(
            case.origin,
            case.layer,
            case.route,
            case.dtype,
            case.accuracy,
            *times,
            _number(memory, ".1f"),
            _number(m.times_limit, ".2f"),
            *paper,
        )
    return table


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """How many times faster our candidates are than others that do the same, at one shape."""
    shape = comparisons[0].measurement.shape
    table = Table(
        title=f"{shape}: time of the reference / time of ours",
        caption="Medians of the ratios of the same round. Difference: of the outputs, relative to the largest one of the image.",
    )
    for name in ("layer", "route", "dtype", "accuracy", "reference"):
        table.add_column(name, no_wrap=True)
    for name in (*PHASES, "memory", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in comparisons:
        case, other = c.measurement.case, c.reference.case
        ratios = [_number(c.speed(phase), ".2f") for phase in PHASES]
        cells = [*ratios, _number(c.memory, ".2f"), _number(c.difference, ".1e")]
        reference = f"{other.origin} {other.layer}{'' if other.dtype == case.dtype else f' {other.dtype}'}"
        table.add_row(case.layer, case.route, case.dtype, case.accuracy, reference, *cells)
    return table


def _milliseconds(measurement: Measurement, phase: str) -> str:
    return f"{1e3 * minimum(measurement.samples, phase):.1f} | {1e3 * median(measurement.samples, phase):.1f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


class Steps:
    """Progress and time left: a bar on a terminal, else a line now and then. A context manager.

    Args:
        total: Steps of the run.
        console: Where to write.
        every: Seconds between lines where there is no terminal.
    """

    def __init__(self, total: int, console: Console, every: float = 30.0) -> None:
        self.total, self.console, self.every = total, console, every
        self.done, self.started = 0, time.monotonic()
        self._written = self.started
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(
            *columns,
            console=console,
            disable=not console.is_terminal,
            speed_estimate_period=3600,
            transient=True,
            redirect_stdout=False,  # tables go to standard output, wherever that leads
            redirect_stderr=False,
        )
        self._task = self._bar.add_task("", total=total)

    def __enter__(self) -> Steps:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._bar.stop()

    @contextmanager
    def pause(self) -> Iterator[None]:
        """Take the bar away for the duration, so that something else can be written."""
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def describe(self, text: str) -> None:
        """Say what is being done."""
        self._bar.update(self._task, description=text)

    def advance(self, steps: int = 1) -> None:
        """Some steps are done."""
        self.done += steps
        self._bar.advance(self._task, steps)
        now = time.monotonic()
        if not self.console.is_terminal and now - self._written >= self.every:
            self._written = now
            left = (now - self.started) / self.done * (self.total - self.done)
            self.console.print(f"{self.done} of {self.total} steps, about {left:.0f} s left")
