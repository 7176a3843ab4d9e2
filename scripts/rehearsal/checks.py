"""What must be true after the rehearsal."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.rehearsal.divergence import Divergence

ROWS, EPOCHS = 13, 3
CLOCK = ("seconds",)
"""Columns of metrics.csv that no two runs share."""


@dataclass(frozen=True)
class Check:
    """One sentence.

    Attributes:
        what: That is to be true.
        holds: Whether it is.
        found: What was there instead.
    """

    what: str
    holds: bool
    found: str = ""


def check_all(runs: Path, control: Path, table: Path, written: Mapping[Path, int]) -> list[Check]:
    """Of the runs and the table.

    Args:
        runs: Folder of the disturbed runs.
        control: Directory of the run that nothing has disturbed.
        table: Table 2 as csv.
        written: Results that were there before the last disturbance, with their times.
    """
    results = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(runs.glob("*/*/result.json"))}
    return [
        Check(f"{ROWS} rows have a result", len(results) == ROWS, str(len(results))),
        _one_diverged(list(results.values())),
        *(_complete(path.parent, result) for path, result in results.items() if result["status"] == "finished"),
        Check("no result was written twice", all(path.stat().st_mtime_ns == time for path, time in written.items())),
        _same_numbers(runs, control),
        _filled(table),
    ]


def _one_diverged(results: list[dict[str, Any]]) -> Check:
    diverged = [(result["meta_layer"], result["protocol"]) for result in results if result["status"] == "diverged"]
    return Check(f"{' '.join(Divergence.ROW)} alone diverged", diverged == [Divergence.ROW], str(diverged))


def _complete(run: Path, result: Mapping[str, Any]) -> Check:
    epochs = [row["epoch"] for row in rows(run / "metrics.csv")]
    lines = [str(json.loads(line)["epoch"]) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    name = f"{result['meta_layer']} {result['protocol']} has {EPOCHS} epochs, each once, in both files"
    return Check(name, epochs == lines == [str(epoch) for epoch in range(EPOCHS)], f"{epochs}, {lines}")


def _same_numbers(runs: Path, control: Path) -> Check:
    disturbed, undisturbed = (
        [{name: value for name, value in row.items() if name not in CLOCK} for row in rows(folder / "metrics.csv")]
        for folder in (runs / control.parent.name / control.name, control)
    )
    different = [(one, other) for one, other in zip(disturbed, undisturbed, strict=True) if one != other]
    return Check("the row that was killed has every digit of its undisturbed twin", not different, str(different[:1]))


def _filled(table: Path) -> Check:
    """Of the measured columns of final top-1 errors, one number a row but for the row that diverged."""
    found = rows(table)
    columns = [name for name in found[0] if "measured" in name and name.endswith("final top-1")]
    cells = [row[name] for name in columns for row in found]
    numbers = [cell for cell in cells if cell.replace(".", "", 1).isdigit()]
    return Check(f"Table 2 has {ROWS - 1} numbers", len(numbers) == ROWS - 1, str(cells))


def rows(path: Path) -> list[dict[str, str]]:
    """Of a csv file."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))
