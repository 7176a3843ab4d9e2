"""One process trains in a run directory at a time."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from gcp_repro.errors import GCPError, StorageError
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.files import read_json, write_json

__all__ = ["RunLocked", "owner", "process_is_alive", "run_lock"]


GRACE_SECONDS = 10  # in which the helpers of a process that was killed end, too, and let go of its lock


class RunLocked(GCPError):
    """Another process trains in the run directory."""


@contextmanager
def run_lock(run: RunDirectory) -> Iterator[None]:
    """Hold a run directory, which is created, until the block ends or the process dies, however it dies.

    The lock is the operating system's, which Linux also keeps over NFS; a file beside it says who holds it.

    Raises:
        RunLocked: "training here already: runs/digits/...: host gpu7, process 4211, since 2026-11-26 06:23:11 UTC: ..."
        StorageError: The directory cannot be made or written to.
    """
    lock = FileLock(run.lock)
    try:
        run.path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0 if owner(run) else GRACE_SECONDS)
    except Timeout:
        raise RunLocked(
            f"training here already: {run.path}: {_words(owner(run))}: wait for it, or stop it; this command can then be repeated"
        ) from None
    except OSError as error:
        raise StorageError(run.path, error) from error
    note = _note(run)
    try:
        write_json(note, {"host": socket.gethostname(), "process": os.getpid(), "since": _now()})
        yield
    finally:
        with suppress(OSError):
            note.unlink(missing_ok=True)
        lock.release()


def owner(run: RunDirectory) -> dict[str, Any] | None:
    """Host, process and start of who trains in a directory; None where nobody does.

    A process on this machine is asked for, one on another is believed.
    """
    try:
        held = read_json(_note(run))
    except (OSError, ValueError):
        return None
    if held.get("host") == socket.gethostname() and not process_is_alive(held.get("process")):
        return None
    return held


def _note(run: RunDirectory) -> Path:
    return run.lock.with_name(".owner.json")


def _words(held: dict[str, Any] | None) -> str:
    if held is None:
        return "by a process that is just starting or ending"
    return f"host {held.get('host')}, process {held.get('process')}, since {held.get('since')}"


def process_is_alive(process: Any) -> bool:
    """Whether a process of this machine is there, by its number."""
    try:
        os.kill(int(process), 0)
    except PermissionError:
        return True
    except (OSError, TypeError, ValueError):
        return False
    return True


def _now() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
