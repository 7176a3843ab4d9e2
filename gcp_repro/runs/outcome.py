"""What a run has come to, for whoever asks before training, and in one line."""

from __future__ import annotations

import logging
import signal
from typing import Any

from gcp_repro.errors import DataError, GCPError, MissingPathError, StorageError
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.exit_codes import DIVERGED, FAILED, FINISHED, LOCKED, MISCONFIGURED, of_signal
from gcp_repro.runs.files import set_aside
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.runs.lock import RunLocked
from gcp_repro.runs.states import state_of

__all__ = ["exit_code_for", "exit_code_of", "recorded_result", "summary"]

log = logging.getLogger(__name__)


def recorded_result(run: RunDirectory) -> dict[str, Any] | None:
    """The result of a run that is over; None if it is to be trained, or trained on.

    A `result.json` that is none (half a file, an empty one, another program's) is set aside, with a line.
    """
    if not run.result.exists():
        return None
    state = state_of(run)
    if state.result:
        return state.result
    if state.state == "unreadable":
        aside = set_aside(run.result)
        words = "%s is no result (%s); it is now %s, and the run goes on from its last checkpoint"
        log.warning(words, run.result, state.reason, aside.name)
    return None


def exit_code_of(result: dict[str, Any]) -> int:
    """Of the command that made or found a result."""
    return DIVERGED if result["status"] == "diverged" else FINISHED


def exit_code_for(error: BaseException) -> int:
    """Of the command that an error ends: a user's mistake, or what went wrong around the command."""
    if isinstance(error, TrainingInterrupted):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return of_signal(signal.SIGINT)
    if isinstance(error, RunLocked):
        return LOCKED
    mistake = isinstance(error, GCPError) and not isinstance(error, DataError | StorageError)
    return MISCONFIGURED if mistake or isinstance(error, MissingPathError) else FAILED


def summary(result: dict[str, Any], run: RunDirectory) -> str:
    """One line: error, seconds, directory."""
    if result["status"] == "diverged":
        where = f"epoch {result.get('diverged_epoch')}, batch {result.get('diverged_batch')}"
        return f"diverged in {where}: {result.get('diverged_cause')} not finite | {run.path}"
    if result["status"] == "imported":
        return f"imported weights, error {result['final_top1_error']:.2f} % | {run.path}"
    error, best, seconds = (result[key] for key in ("final_top1_error", "best_top1_error", "wall_time_seconds"))
    return f"error {error:.2f} % (best {best:.2f} %) in {seconds:.1f} s | {run.path}"
