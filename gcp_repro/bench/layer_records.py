"""Rows that `gcp-bench layers` writes: what was measured, on what, and how candidates compare."""

from __future__ import annotations

import csv
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from gcp_repro.bench.cases import Case, Shape
from gcp_repro.bench.timing import PHASES, Sample, median, minimum, minimum_ratio, paired_ratio
from gcp_repro.errors import DataError
from gcp_repro.paper.layers import layer_style
from gcp_repro.paper.published.published_tables import published_value
from gcp_repro.runs.files import write_csv
from gcp_repro.runs.machine import cpu_name
from gcp_repro.training.result import git_revision

__all__ = ["Comparison", "Measurement", "Row", "machine", "other_rows", "published_seconds", "write_rows"]

Row = dict[str, Any]

ALEXNET = (256, 13, 13)
"""Channels, height and width of the features in the paper's Table 5."""


@dataclass(frozen=True)
class Measurement:
    """All samples of one candidate at one shape.

    Args:
        shape: Of the features.
        case: The candidate.
        samples: One a round; empty if it failed.
        limit: The samples of its limit in the same rounds; empty if it has none.
        peak_bytes: Peak extra memory; None where it was not measured.
        failure: Why there are no samples.
    """

    shape: Shape
    case: Case
    samples: Sequence[Sample] = ()
    limit: Sequence[Sample] = ()
    peak_bytes: int | None = None
    failure: str = ""

    @property
    def times_limit(self) -> float | None:
        """Median over the rounds of time / limit, forward and backward together."""
        return paired_ratio(self.samples, self.limit) if self.samples and self.limit else None

    def row(self) -> Row:
        """Columns of the csv; seconds and bytes. Empty where there is nothing to say."""
        row: Row = {
            "origin": self.case.origin,
            "layer": self.case.layer,
            "route": self.case.route,
            "dtype": self.case.dtype,
            "accuracy": self.case.accuracy,
            **_shape_columns(self.shape),
            "rounds": len(self.samples),
        }
        for phase in PHASES:
            row[f"{phase}_min"] = minimum(self.samples, phase) if self.samples else None
            row[f"{phase}_median"] = median(self.samples, phase) if self.samples else None
        row["times_limit_median"] = self.times_limit
        row["times_limit_of_minima"] = minimum_ratio(self.samples, self.limit) if self.times_limit is not None else None
        row["peak_extra_bytes"] = self.peak_bytes
        for phase in PHASES:
            row[f"paper_{phase}"] = published_seconds(self.case, self.shape, phase)
        row["failure"] = self.failure
        return row


@dataclass(frozen=True)
class Comparison:
    """A candidate beside another that does the same; ratios above 1 are in the candidate's favour.

    Args:
        measurement: The candidate.
        reference: What it is compared with.
        difference: Largest difference of their outputs over the largest output of the image; None where they are meant to
            differ or one of them failed.
    """

    measurement: Measurement
    reference: Measurement
    difference: float | None = None

    def speed(self, phase: str = "total") -> float:
        """Median over the rounds of the reference's time / the candidate's."""
        return paired_ratio(self.reference.samples, self.measurement.samples, phase)

    @property
    def memory(self) -> float | None:
        """The reference's peak extra memory / the candidate's."""
        theirs, ours = self.reference.peak_bytes, self.measurement.peak_bytes
        return theirs / ours if theirs is not None and ours else None

    def row(self) -> Row:
        """Columns of the csv."""
        case, other = self.measurement.case, self.reference.case
        return {
            "layer": case.layer,
            "route": case.route,
            "dtype": case.dtype,
            "accuracy": case.accuracy,
            **_shape_columns(self.measurement.shape),
            "reference_origin": other.origin,
            "reference": other.layer,
            "reference_dtype": other.dtype,
            "reference_accuracy": other.accuracy,
            "rounds": len(self.measurement.samples),
            **{f"{phase}_ratio_median": self.speed(phase) for phase in PHASES},
            "total_ratio_of_minima": minimum_ratio(self.reference.samples, self.measurement.samples),
            "memory_ratio": self.memory,
            "output_difference": self.difference,
        }


def _shape_columns(shape: Shape) -> Row:
    return {
        "batch": shape.batch,
        "channels": shape.channels,
        "height": shape.height,
        "width": shape.width,
        "reduced_from": shape.reduced_from,
    }


def published_seconds(case: Case, shape: Shape, phase: str) -> float | None:
    """What Table 5 of the paper says of one of our layers at AlexNet's features; None where it has no such row."""
    method = layer_style(case.layer).published if case.origin == "gcp_repro" else ""
    if not method or (shape.channels, shape.height, shape.width) != ALEXNET or shape.reduced_from is not None:
        return None
    return published_value("5", phase, method=method)


def machine(device: torch.device, threads: int, clock: str = "wall") -> Row:
    """Columns on where and with what a run was made."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": threads,
        "clock": clock,
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "gcp_repro")},
        "git_revision": git_revision(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def write_rows(path: Path, rows: Iterable[Row], machine: Row, others: Iterable[Row] = ()) -> None:
    """Write a csv file, every row followed by the columns on the machine; numbers with six significant digits.

    Args:
        path: The file; its folder is made.
        rows: What was measured; without any nothing is written.
        machine: Columns of each.
        others: Rows that stay in front of them, as `other_rows` gives them.
    """
    complete = [{**row, **machine} for row in rows]
    if not complete:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    rounded = [{name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()} for row in complete]
    write_csv(path, [*others, *rounded])


def other_rows(path: Path, about: Row) -> list[Row]:
    """The rows of a file that say nothing of what is to be measured: those that differ in one of some columns.

    Args:
        path: None of its rows where there is no file.
        about: The columns, and the values in the rows that will be replaced.

    Raises:
        DataError: The file has other columns: it is of another kind.
    """
    if not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [row for row in csv.DictReader(file) if any(row[name] != str(value) for name, value in about.items())]
    except (OSError, UnicodeDecodeError, KeyError) as error:
        raise DataError(
            f"rows are added to a file with the columns {', '.join(about)}; reading {path} gave {error!r}: name another file"
        ) from error
