"""Run directories below a folder, and what else is there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.sweeps import SweepDirectory

__all__ = ["Other", "find_runs"]


@dataclass(frozen=True)
class Other:
    """A folder that is no run.

    Attributes:
        kind: "foreign" or "unreadable".
        path: Where.
        reason: What was found, in words.
    """

    kind: Literal["foreign", "unreadable"]
    path: Path
    reason: str


def find_runs(root: Path) -> tuple[list[Path], list[Other]]:
    """Every run directory at or below a folder, in order of names, and the outermost folders without a run in them."""
    others: list[Other] = []
    return list(_walk(root.resolve(), others, set())), others


def _walk(folder: Path, foreign: list[Other], seen: set[Path]) -> Iterator[Path]:
    """Run directories at or below `folder`; folders without a run in them go to `foreign`, the outermost one each.

    Links are followed; a folder in `seen` was reached before, perhaps by a link in a circle.
    """
    if folder in seen:
        return
    seen.add(folder)
    if RunDirectory(folder).holds_run():
        yield folder
        return
    if SweepDirectory(folder).plan.is_file():
        return  # the account of a sweep, whose runs are elsewhere
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        foreign.append(Other("unreadable", folder, f"cannot be listed: {error.strerror}"))
        return
    below: list[Other] = []
    folders = (entry.resolve() for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    runs = [run for entry in folders for run in _walk(entry, below, seen)]
    unreadable = [problem for problem in below if problem.kind == "unreadable"]
    if runs or not (len(below) > len(unreadable) or not entries or any(entry.is_file() for entry in entries)):
        foreign.extend(below)
        yield from runs
    else:
        foreign.extend(unreadable)
        what = "no file of a run in it (result.json, metrics.csv, config.yaml)" if entries else "an empty folder"
        foreign.append(Other("foreign", folder, what))
