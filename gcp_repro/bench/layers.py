"""Time and memory of every meta-layer, route and precision, beside their limit, the paper's Table 5 and a peer's layers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from torch import Tensor, nn

from gcp_repro.bench.cases import ACCURACIES, Case, Inputs, Shape, list_cases, parse_shapes
from gcp_repro.bench.layer_records import Comparison, Measurement, machine, write_rows
from gcp_repro.bench.layer_tables import Steps, comparison_table, make_console, measurement_table
from gcp_repro.bench.memory import MemoryProbe, peak_on_cuda
from gcp_repro.bench.options import add_shared_arguments, checked_device
from gcp_repro.bench.peer import Peer, opened
from gcp_repro.bench.timing import CLOCKS, Sample, Trial, take_turns, torch_threads
from gcp_repro.errors import OptionError
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from gcp_repro.runs.files import refuse_unwritable

__all__ = ["Bench", "add_arguments", "like_peer", "relative_difference", "run"]

OVERHEAD_STEPS = 2  # beside the rounds, every candidate is warmed up, and its memory measured
COMPARED_IMAGES = 4
PEER_DROPS = 50  # eigenvalues; the peer's SVD_TopN drops so many whatever the number of channels, ours keeps a share


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `gcp-bench layers`."""
    add_shared_arguments(parser, device="cpu")
    parser.add_argument(
        "--layers",
        nargs="+",
        metavar="LAYER",
        default=list(META_LAYERS),
        help="registered names (default: all), options after a colon: svd_lyapunov:shrinkage=0.1,heads=2",
    )
    parser.add_argument("--routes", nargs="+", choices=("auto", "gram", "dense"), default=["gram", "dense"])
    parser.add_argument(
        "--accuracies", nargs="+", choices=ACCURACIES, default=["standard"], help="of layers that have the option"
    )
    parser.add_argument(
        "--clock", choices=tuple(CLOCKS), default="wall", help="cpu: processor time of all threads, for machines that others use"
    )
    parser.add_argument("--memory", action=argparse.BooleanOptionalAction, default=True, help="measure peak memory as well")
    parser.add_argument("--peer", type=Path, metavar="PATH", help="your clone of DifferentiableSVD, to be timed in the same run")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("reports/layers.csv"),
        help="csv file of the times; ratios go beside it, as NAME_ratios.csv (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write the csv files, shape by shape.

    Raises:
        UnknownNameError: A layer that is not registered.
        OptionError: A number below 1, an option that a layer does not have, a shape that cannot be read, or CUDA where there is
            none.
        DataError: `--peer` is no clone of DifferentiableSVD.
    """
    refuse_unwritable("--output", options.output)
    shapes = parse_shapes(options.shapes, options.batch)
    device = _check(options)
    console = make_console()
    where = machine(device, options.threads, options.clock)
    cases = list_cases(options.layers, options.routes, options.dtypes, options.accuracies, with_peer=options.peer is not None)
    ratios_file = options.output.with_name(f"{options.output.stem}_ratios.csv")
    console.print(", ".join(f"{name} {value}" for name, value in where.items() if value is not None))
    measurements: list[Measurement] = []
    comparisons: list[Comparison] = []
    with ExitStack() as stack:
        stack.enter_context(torch_threads(options.threads))
        probe = stack.enter_context(MemoryProbe(options.threads, options.peer)) if options.memory else None
        peer = stack.enter_context(opened(options.peer, device)) if options.peer is not None else None
        steps_in_all = len(shapes) * len(cases) * (options.repeats + OVERHEAD_STEPS)
        steps = stack.enter_context(Steps(steps_in_all, make_console(stderr=True)))
        bench = Bench(device, options.repeats, steps, peer, probe, options.clock)
        for shape in shapes:
            measured = bench.measure(shape, cases)
            compared = list(bench.compare(shape, measured))
            measurements += measured
            comparisons += compared
            write_rows(options.output, (m.row() for m in measurements), where)
            write_rows(ratios_file, (c.row() for c in comparisons), where)
            with steps.pause():
                _show(console, measured, compared)
    console.print(f"written: {options.output}" + (f", {ratios_file}" if comparisons else ""))


def _show(console: Console, measured: Sequence[Measurement], compared: Sequence[Comparison]) -> None:
    console.print(measurement_table(measured))
    if compared:
        console.print(comparison_table(compared))
    for failed in (m for m in measured if m.failure):
        console.print(f"{failed.case} failed: {failed.failure}", markup=False)


def _check(options: argparse.Namespace) -> torch.device:
    for layer in options.layers:
        Case("gcp_repro", layer).build(torch.empty(0), None)  # a wrong name or option shows before any work
    if options.device == "cuda" and options.clock == "cpu":
        raise OptionError("--clock cpu sees the processor alone; got --device cuda: use --clock wall")
    return checked_device("gcp-bench layers", options)


@dataclass
class Bench:
    """Measures candidates, one shape at a time.

    Args:
        device: Where.
        repeats: Rounds.
        steps: Told of every step.
        peer: An opened clone, if its layers are among the candidates.
        probe: Measures memory on the CPU; None to leave memory out, on CUDA too.
        clock: One of `CLOCKS`.
    """

    device: torch.device
    repeats: int
    steps: Steps
    peer: Peer | None = None
    probe: MemoryProbe | None = None
    clock: str = "wall"

    def measure(self, shape: Shape, cases: Sequence[Case]) -> list[Measurement]:
        """Time all candidates in turns, then measure their memory. One that raises is reported as failed."""
        inputs = Inputs(shape, self.device, self.clock)
        trials: dict[Case, Trial] = {}
        failures: dict[Case, str] = {}
        for case in cases:
            self.steps.describe(f"{shape} warming up {case}")
            try:
                trials[case] = inputs.trial(case, self.peer)
            except Exception as error:  # of any kind: the others are still worth measuring
                failures[case] = f"{type(error).__name__}: {error}"
                self.steps.advance(self.repeats)
            self.steps.advance()
        self.steps.describe(f"{shape} timing")
        samples = take_turns({case: trial.run for case, trial in trials.items()}, self.repeats, self.steps.advance)
        measurements = []
        for case in cases:
            self.steps.describe(f"{shape} memory of {case}")
            limit: Sequence[Sample] = samples.get(case.limit, ()) if case.limit is not None else ()
            peak = None
            try:
                peak = self._peak(shape, trials[case], case) if case in trials else None
            except Exception as error:
                failures[case] = f"memory: {type(error).__name__}: {error}"
            measurements.append(Measurement(shape, case, samples.get(case, ()), limit, peak, failures.get(case, "")))
            self.steps.advance()
        return measurements

    def _peak(self, shape: Shape, trial: Trial, case: Case) -> int | None:
        if self.probe is None:
            return None
        return peak_on_cuda(trial) if self.device.type == "cuda" else self.probe.measure(case, shape)

    def compare(self, shape: Shape, measurements: Sequence[Measurement]) -> Iterator[Comparison]:
        """Put every candidate beside the others of the run that do the same."""
        timed = {m.case: m for m in measurements if m.samples}
        few = Inputs(replace(shape, batch=min(shape.batch, COMPARED_IMAGES)), self.device)
        for case, measurement in timed.items():
            for reference in case.references:
                if reference in timed:
                    difference = self._difference(few, case, reference) if reference.origin == "peer" else None
                    yield Comparison(measurement, timed[reference], difference)

    def _difference(self, inputs: Inputs, case: Case, reference: Case) -> float:
        with torch.no_grad():
            theirs = reference.build(inputs.reduced, self.peer)(inputs.reduced)
            return relative_difference(like_peer(case, inputs.reduced)(inputs.reduced), theirs)


def like_peer(case: Case, features: Tensor) -> nn.Module:
    """Our layer for features `(B, C, H, W)`, with the peer's number of eigenvalues where that would make outputs differ."""
    if case.layer != "svd_topn":
        return case.build(features, None)
    kept = max(1, features.shape[1] - PEER_DROPS)
    return build_meta_layer(case.layer, route=case.route, dtype=case.dtype, top_n=kept)


def relative_difference(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference of two outputs `(B, D)` over the largest entry of the same image, over all images."""
    largest = theirs.abs().amax(1).clamp(min=torch.finfo(theirs.dtype).tiny)
    return float(((ours - theirs).abs().amax(1) / largest).max())
