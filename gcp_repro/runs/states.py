"""In what state a run is, told from its directory alone."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.files import read_json
from gcp_repro.runs.lock import owner
from gcp_repro.runs.schema import objection

__all__ = ["RunState", "State", "state_of"]

State = Literal["finished", "diverged", "imported", "running", "interrupted", "unscored", "unreadable"]


@dataclass(frozen=True)
class RunState:
    """What a run directory says about its run.

    Attributes:
        state: "finished", "diverged" and "imported" have a valid `result.json`; "running" has an owner that is alive;
            "interrupted" has neither and goes on when its command is repeated; "unscored" are imported weights before `gcp-eval`;
            "unreadable" has a `result.json` that is none.
        reason: Of "unreadable", what is wrong with the file; else empty.
        result: Content of `result.json`, if valid.
        owner: Host, process and start of who trains there.
        epochs: Complete epochs, by `metrics.csv`.
        rows: These epochs, as text by column.
    """

    state: State
    reason: str = ""
    result: dict[str, Any] = field(default_factory=dict)
    owner: dict[str, Any] | None = None
    epochs: int = 0
    rows: list[dict[str, str]] = field(default_factory=list)

    @property
    def last_row(self) -> dict[str, str]:
        """The latest epoch; empty where there is none."""
        return self.rows[-1] if self.rows else {}


def state_of(run: RunDirectory) -> RunState:
    """The state of a run directory; whatever is in it, this raises nothing."""
    rows = _rows(run.metrics)
    facts: dict[str, Any] = {"epochs": len(rows), "rows": rows}
    held = owner(run)
    if held is not None:
        return RunState("running", owner=held, **facts)
    if run.result.is_file():
        try:
            content = read_json(run.result)
        except (OSError, ValueError, RecursionError) as error:  # JSON's and UTF-8's errors are ValueErrors
            return RunState("unreadable", f"not JSON: {error}", **facts)
        reason = objection(content)
        if reason is not None:
            return RunState("unreadable", reason, **facts)
        return RunState(content["status"], result=content, **facts)
    return RunState("unscored" if run.origin.is_file() else "interrupted", **facts)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        with path.open(encoding="utf-8", errors="replace", newline="") as file:
            return list(csv.DictReader(file))
    except (OSError, csv.Error):
        return []
