"""A run in one row: state, how far, how well, how fast, where."""

from __future__ import annotations

import math
import os
from typing import Any

from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.files import read_json
from gcp_repro.runs.states import RunState, state_of

__all__ = ["COLUMNS", "status_of"]

COLUMNS = ("run", "state", "epoch", "error", "best", "images/s", "left", "host", "note")
"""Of what is shown; `left` is `seconds_left` in words."""
OVER = ("finished", "diverged", "imported")


def status_of(run: RunDirectory) -> dict[str, Any]:
    """One row; whatever is in the directory, this raises nothing.

    Args:
        run: Its directory.

    Returns:
        "run" (relative to here), "state", "epoch" (complete ones), "epochs" (planned), "step" and "steps" of the present
        epoch, "error" and "best" (top-1, percent), "images/s", "seconds_left", "host", "process", "updated", "note". What is not
        known is None.
    """
    state = state_of(run)
    progress = _progress(run)
    result, running = state.result, state.state == "running"
    owner = state.owner or {}
    return {
        "run": os.path.relpath(run.path),
        "state": state.state,
        "epoch": _first(result.get("epochs"), state.epochs),
        "epochs": _first(result.get("planned_epochs"), progress.get("epochs")),
        "step": progress.get("step") if running else None,
        "steps": progress.get("steps") if running else None,
        "error": _first(result.get("final_top1_error"), _number(state.last_row.get("val/top1_error"))),
        "best": _first(result.get("best_top1_error"), _best(state)),
        "images/s": _first(result.get("samples_per_second"), progress.get("images_per_second")),
        "seconds_left": _seconds_left(state, progress),
        "host": _first(owner.get("host"), progress.get("host")),
        "process": owner.get("process"),
        "updated": progress.get("time"),
        "note": _note(state, progress),
    }


def _note(state: RunState, progress: dict[str, Any]) -> str:
    if state.state == "running" and progress.get("step"):
        return f"step {progress['step']} of {progress.get('steps') or '?'} in epoch {progress.get('epoch', 0) + 1}"
    if state.state == "diverged":
        where = f"epoch {state.result.get('diverged_epoch')}, batch {state.result.get('diverged_batch')}"
        return f"{where}: {state.result.get('diverged_cause')} not finite"
    return state.reason


def _seconds_left(state: RunState, progress: dict[str, Any]) -> float | None:
    return None if state.state in OVER else _number(progress.get("seconds_left"))


def _progress(run: RunDirectory) -> dict[str, Any]:
    try:
        return read_json(run.progress)
    except (OSError, ValueError):
        return {}


def _best(state: RunState) -> float | None:
    errors = (_number(row.get("val/top1_error")) for row in state.rows)
    return min((error for error in errors if error is not None), default=None)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
