"""What a run says while others run beside it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from gcp_repro.errors import StorageError
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.processes import first_process, process_name

__all__ = ["SWEEP_JOBS", "hush", "in_parallel_worker", "in_sweep", "log_to", "show_progress", "stop_with_parent", "tell"]

log = logging.getLogger(__name__)

RESULT = logging.INFO + 5
logging.addLevelName(RESULT, "RESULT")

SWEEP_JOBS = "GCP_SWEEP_JOBS"  # environment variable: number of jobs in the running sweep


def in_parallel_worker() -> bool:
    """Whether this process is one of a launcher's workers, which share one terminal."""
    return multiprocessing.current_process().name != "MainProcess"


def stop_with_parent() -> None:
    """Let this worker end when the sweep's main process is killed; joblib would let it run on, or wait for ever.

    It then gets SIGTERM, which a training run answers by saving a checkpoint.
    """
    name = "stop with parent"
    if all(thread.name != name for thread in threading.enumerate()):
        threading.Thread(target=_terminate_when_orphaned, args=(os.getppid(),), name=name, daemon=True).start()


def _terminate_when_orphaned(parent: int) -> None:
    while True:
        time.sleep(0.5)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)


def hush() -> None:
    """Let the console show only results and warnings; files go on to hold everything."""
    for handler in logging.getLogger().handlers:
        if not isinstance(handler, logging.FileHandler):
            handler.setLevel(RESULT)


@contextmanager
def log_to(run: RunDirectory) -> Iterator[None]:
    """Write what is logged within this to the run's log; processes other than the first have logs of their own."""
    path = run.log if first_process() else run.log.with_name(f"{run.log.stem}.rank{process_name()}{run.log.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)  # by whichever process comes first
        handler = logging.FileHandler(path, encoding="utf-8")
    except OSError as error:
        raise StorageError(path, error) from error
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(levelname)s] %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    except Exception as error:  # the command prints it; the log is to hold it as well
        handler.handle(log.makeRecord(log.name, logging.ERROR, path.name, 0, "%s: %s", (type(error).__name__, error), None))
        raise
    finally:
        root.removeHandler(handler)
        handler.close()


def show_progress(choice: bool | str) -> bool:
    """Whether to draw a progress bar: as chosen, or with "auto" where one process has a terminal to itself."""
    if choice == "auto":
        return sys.stdout.isatty() and not in_parallel_worker()
    return bool(choice)


def tell(message: str, *values: Any) -> None:
    """Log the one line that a run ends with, preceded in a sweep by its place in it, as in "[3/8] "."""
    if first_process():
        log.log(RESULT, _place_in_sweep() + message, *values)


def in_sweep() -> bool:
    """Whether this is a job of a sweep."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _place_in_sweep() -> str:
    if not in_sweep():
        return ""
    number, total = HydraConfig.get().job.num + 1, os.environ.get(SWEEP_JOBS)
    return f"[{number}/{total}] " if total else f"[{number}] "
