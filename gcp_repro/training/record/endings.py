"""What loggers are told when a run ends, or is stopped, or fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import Logger, MLFlowLogger, WandbLogger

from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.exit_codes import FAILED
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.runs.outcome import exit_code_for, exit_code_of, summary

__all__ = ["Ending", "end_loggers", "session"]

Status = Literal["finished", "diverged", "interrupted", "failed"]
MLFLOW = {"finished": "FINISHED", "diverged": "FAILED", "interrupted": "KILLED", "failed": "FAILED"}


@dataclass(frozen=True)
class Ending:
    """How a session of a run ended.

    Attributes:
        status: In a word.
        exit_code: Of the command, as in `gcp_repro.runs.exit_codes`.
        words: In a sentence.
        facts: What to show of the run as a whole: errors, the epoch of the swap, ...
    """

    status: Status
    exit_code: int
    words: str
    facts: dict[str, Any] = field(default_factory=dict)


@contextmanager
def session(loggers: Sequence[Logger], folder: Path, facts: Callable[[], dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Tell the loggers how the block ends: by the result that it puts into the yielded mapping, or by what it raises.

    Args:
        loggers: Of the run.
        folder: The run directory.
        facts: What to show of the run as a whole, asked for at the end; with "epochs", "swap_epoch" and "meta_layer".
    """
    result: dict[str, Any] = {}
    ending = Ending("failed", FAILED, "")
    try:
        yield result
        words = summary(result, RunDirectory(folder))
        ending = Ending(result["status"], exit_code_of(result), words if result["status"] == "diverged" else f"finished: {words}")
    except TrainingInterrupted as interruption:
        ending = Ending("interrupted", interruption.exit_code, f"interrupted: {interruption}")
        raise
    except BaseException as error:
        first = (str(error).splitlines() or [""])[0]
        ending = Ending("failed", exit_code_for(error), f"failed: {type(error).__name__}: {first}")
        raise
    finally:
        known = facts()
        swap = known.get("swap_epoch")
        swapped = f" (with {known['meta_layer']} since epoch {swap})" if swap is not None and known["epochs"] >= swap else ""
        end_loggers(loggers, replace(ending, words=ending.words + swapped, facts=known), folder)


def end_loggers(loggers: Sequence[Logger], ending: Ending, folder: Path) -> None:
    """Tell every logger; W&B's run is ended, or the next job of a sweep would go on with it.

    Args:
        loggers: Of the run.
        ending: Of this session.
        folder: The run directory.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            _end_wandb(logger, ending, folder)
        else:
            logger.finalize(MLFLOW[ending.status] if isinstance(logger, MLFlowLogger) else ending.status)


def _end_wandb(logger: WandbLogger, ending: Ending, folder: Path) -> None:
    """Status and facts as the run's summary, a line a session as its notes, and W&B's own mark by the exit status."""
    import wandb

    if wandb.run is None:
        return
    notes = folder / "wandb" / "notes.txt"
    with suppress(OSError):  # on a full disk the run's own error is what counts
        with notes.open("a", encoding="utf-8") as file:
            file.write(f"{ending.words}\n")
        wandb.run.notes = notes.read_text(encoding="utf-8")
    wandb.run.summary.update({"status": ending.status, "exit_code": ending.exit_code, **ending.facts})
    wandb.finish(exit_code=ending.exit_code)
