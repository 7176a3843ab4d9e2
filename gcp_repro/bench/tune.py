"""Which solver is the fastest on this machine, by kind of work and size; trainings with solver=auto go by it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from gcp_repro.bench.cases import Inputs, Shape, list_cases, parse_shapes
from gcp_repro.bench.layer_records import other_rows
from gcp_repro.bench.layer_tables import Steps, make_console
from gcp_repro.bench.options import add_shared_arguments, checked_device
from gcp_repro.bench.timing import Sample, Trial, minimum, take_turns, torch_threads
from gcp_repro.errors import OptionError
from gcp_repro.linalg.pooling import operators_for
from gcp_repro.linalg.solvers import has_choice, work_of
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from gcp_repro.metalayers.covariance_pooling import CovariancePooling
from gcp_repro.runs.files import refuse_unwritable, write_csv
from gcp_repro.runs.machine import SOLVERS_VARIABLE, solver_file
from gcp_repro.training.loop.solvers import device_name, measured_times

__all__ = ["add_arguments", "run"]

Candidates = dict[tuple[str, str], CovariancePooling]
"""Layers by kind of work and solver."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `gcp-bench tune`."""
    add_shared_arguments(parser, device="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument(
        "--output",
        type=Path,
        default=solver_file(),
        help="csv file that trainings read (default: %(default)s)",
    )


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write the file, size by size.

    Raises:
        OptionError: A number below 1, a shape that cannot be read, no file to write, or CUDA where there is none.
        DataError: The file is there, and none of this command.
    """
    shapes, device = parse_shapes(options.shapes, options.batch), _check(options)
    refuse_unwritable("--output", options.output)
    measured_times(options.output, device)  # refuse to write over something else
    candidates = _candidates(options.dtypes, device)
    console = make_console()
    with (
        torch_threads(options.threads),
        Steps(len(shapes) * len(candidates) * options.repeats, make_console(stderr=True)) as steps,
    ):
        for shape in shapes:
            steps.describe(f"{shape}")
            samples = _measure(shape, candidates, device, options.repeats, steps)
            with steps.pause():
                console.print(_table(shape, samples))
            _write(options.output, device, shape, samples, options.threads)
    console.print(f"written: {options.output}; gcp-train with solver=auto goes by it, {SOLVERS_VARIABLE}= without")


def _check(options: argparse.Namespace) -> torch.device:
    device = checked_device("gcp-bench tune", options)
    if options.output is None:
        raise OptionError(f"gcp-bench tune needs a file to write; {SOLVERS_VARIABLE} is empty: pass --output FILE")
    return device


def _candidates(dtypes: Sequence[str], device: torch.device) -> Candidates:
    """One layer for each kind of work and solver: what a layer's rule fills into its table takes no time worth a difference.

    `accuracy="high"` is left to the rule: on a GPU torch decomposes the features of one image after another.
    """
    found: Candidates = {}
    for case in list_cases(list(META_LAYERS), ("gram", "dense"), dtypes, with_peer=False):
        layer = case.build(torch.empty(0), None) if case.origin == "gcp_repro" else None
        if isinstance(layer, CovariancePooling) and has_choice(layer.spec):
            solvers = [name for name in operators_for(layer.spec, 2) if name != "host" or device.type != "cpu"]
            for solver in solvers if len(solvers) > 1 else ():
                found.setdefault(
                    (work_of(layer.spec), solver),
                    build_meta_layer(case.layer, **case.options, solver=solver),  # type: ignore[arg-type]
                )
    return found


def _measure(
    shape: Shape, candidates: Candidates, device: torch.device, repeats: int, steps: Steps
) -> dict[tuple[str, str], list[Sample]]:
    """Samples by kind of work and solver; a solver that fails, as for want of memory, is left out."""
    inputs = Inputs(shape, device)
    trials = {}
    for key, layer in candidates.items():
        try:
            trials[key] = Trial(layer, inputs.reduced, inputs.upstream)
        except (RuntimeError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
            steps.advance(repeats)
    return take_turns({key: trial.run for key, trial in trials.items()}, repeats, steps.advance)


def _table(shape: Shape, samples: dict[tuple[str, str], list[Sample]]) -> Table:
    solvers = list(dict.fromkeys(solver for _, solver in samples))
    table = Table(title=f"{shape}: milliseconds, forward and backward, fewest of the rounds")
    for name in ("work", *solvers, "fastest"):
        table.add_column(name, justify="left" if name in ("work", "fastest") else "right", no_wrap=True)
    for work in dict.fromkeys(work for work, _ in samples):
        times = {solver: minimum(samples[work, solver], "total") for solver in solvers if (work, solver) in samples}
        cells = [f"{1e3 * times[solver]:.2f}" if solver in times else "" for solver in solvers]
        table.add_row(work, *cells, min(times, key=times.__getitem__))
    return table


def _write(path: Path, device: torch.device, shape: Shape, samples: dict[tuple[str, str], list[Sample]], threads: int) -> None:
    """Put the rows of a size in the place of those that this device had of it."""
    size = {"channels": shape.channels, "positions": shape.height * shape.width}
    about = {"device_name": device_name(device)} | size
    rows: list[dict[str, Any]] = [
        about
        | {"work": work, "solver": solver, "seconds": f"{minimum(own, 'total'):.6g}", "batch": shape.batch, "rounds": len(own)}
        | {"threads": threads, "torch": version("torch"), "date": datetime.now(timezone.utc).isoformat(timespec="seconds")}
        for (work, solver), own in samples.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, [*other_rows(path, about), *rows])
