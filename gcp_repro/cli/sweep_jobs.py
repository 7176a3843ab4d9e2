"""One job of a sweep, in whichever process trains it: what it has come to is written down for the sweep's account."""

from __future__ import annotations

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from gcp_repro.cli.messages import describe
from gcp_repro.errors import GCPError, StorageError
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.runs.lock import RunLocked
from gcp_repro.runs.outcome import exit_code_for
from gcp_repro.runs.sweeps import JobRecord, SweepDirectory
from gcp_repro.training.processes.console import in_parallel_worker, in_sweep, tell

__all__ = ["SIGNALS", "SWEEP_FOLDER", "UNWRITTEN", "error_line", "job_of_sweep"]

SWEEP_FOLDER = "GCP_SWEEP_FOLDER"  # environment variable: folder of the running sweep

UNWRITTEN: dict[int, JobRecord] = {}
"""Records of this process's jobs for which the disk had no room, by number."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)
"""What stops a sweep."""


@contextmanager
def job_of_sweep(run: RunDirectory) -> Iterator[JobRecord | None]:
    """Write down, within a sweep, that this process trains a job and how it ends; the block may set its state.

    Signals that come while nobody else listens to them end the block with `TrainingInterrupted`.

    Args:
        run: Its directory.

    Yields:
        The record; None outside of sweeps.

    Raises:
        TrainingInterrupted: The sweep has been asked to stop; the job is not begun.
    """
    if not in_sweep() or SWEEP_FOLDER not in os.environ:
        yield None
        return
    sweep = SweepDirectory(os.environ[SWEEP_FOLDER])
    signum = sweep.asked_to_stop()
    if signum is not None:
        raise TrainingInterrupted(signum)
    hydra = HydraConfig.get()
    overrides = OmegaConf.to_container(hydra.overrides.task)
    job = JobRecord(hydra.job.num, "running", overrides, str(run.path))  # type: ignore[arg-type]
    _write(sweep, job)
    try:
        with _interrupted_by_signals():
            yield job
    except BaseException as raised:
        error = TrainingInterrupted(raised.signum) if isinstance(raised, _Signalled) else raised
        _note(job, error)
        if isinstance(error, TrainingInterrupted) and error.signum is not None and sweep.main_process():
            sweep.ask_to_stop(error.signum)  # and no launcher is to go on
            raise SystemExit(error.exit_code) from None
        raise error from raised.__cause__
    finally:
        job.log = str(run.log) if run.log.is_file() else None
        _write(sweep, job)


def _write(sweep: SweepDirectory, job: JobRecord) -> None:
    """A disk without room for the record is not what a job fails by: it has its own files to write."""
    try:
        sweep.write(job)
        UNWRITTEN.pop(job.number, None)
    except StorageError:
        UNWRITTEN[job.number] = job


def error_line(error: BaseException) -> str:
    r"""Kind of an error, and the first line of what it says.

    Example:
        >>> error_line(MemoryError("too much\nmore"))
        'MemoryError: too much'
    """
    text = describe(error, "train") if isinstance(error, Exception) else str(error)
    return f"{type(error).__name__}: {text}".splitlines()[0].removesuffix(": ")


def _note(job: JobRecord, error: BaseException) -> None:
    """Why a job did not end well."""
    job.error, job.exit_code = error_line(error), exit_code_for(error)
    if isinstance(error, TrainingInterrupted):
        job.state, job.error = "interrupted", f"stopped by {error.reason}"
        return
    job.state = "locked" if isinstance(error, RunLocked) else "failed"
    if job.state == "locked":
        return
    if not isinstance(error, GCPError):
        job.traceback = "".join(traceback.format_exception(error))
    tell("failed: %s", job.error)


@contextmanager
def _interrupted_by_signals() -> Iterator[None]:
    """Signals before training listens to them itself; a worker that waits for its next job has nothing to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    previous = {number: signal.signal(number, _raise) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in previous.items():
            waiting = number == signal.SIGINT and in_parallel_worker()
            signal.signal(number, signal.SIG_IGN if waiting else handler)


class _Signalled(BaseException):
    """A signal, in a form that no `except Exception` around an import swallows."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def _raise(signum: int, frame: FrameType | None) -> Any:
    raise _Signalled(signum)
