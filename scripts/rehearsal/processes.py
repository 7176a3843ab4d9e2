"""One start of the sweep: its processes, and what its files say of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gcp_repro.runs.lock import process_is_alive

PATIENCE = 600.0
"""Seconds after which something that must happen is given up."""


NO_ACCOUNT = "no account"
"""Of a start that died before it could give one, or had no room for it."""


class Sweep:
    """A running `gcp-train -m`.

    Args:
        command: Its arguments.
        log: What it says goes here.
        runs: Its folder of runs.
        environment: Variables.
    """

    def __init__(self, command: Sequence[str], log: Path, runs: Path, environment: dict[str, str]) -> None:
        self.runs, self.log = runs, log
        self._before = set(runs.glob("sweeps/*"))
        with log.open("w", encoding="utf-8") as file:
            self.main = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)

    @property
    def folder(self) -> Path | None:
        """Of this start's account; None before it is made."""
        return next((path for path in self.runs.glob("sweeps/*") if path not in self._before), None)

    def job(self, number: int) -> dict[str, Any]:
        """What a job has written of itself; empty before it begins."""
        try:
            content: dict[str, Any] = json.loads((self.folder / f"job-{number:05d}.json").read_text(encoding="utf-8"))  # type: ignore[operator]
        except (OSError, ValueError, TypeError):
            return {}
        return content

    def trains(self, number: int) -> bool:
        """Whether a job has an epoch behind it and goes on."""
        job = self.job(number)
        return job.get("state") == "running" and (Path(job["directory"]) / "metrics.csv").is_file()

    def account(self) -> str:
        """The first line of the account, as it was printed: a full disk has no room for a file."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return next((line for line in lines if line.startswith("sweep of ")), NO_ACCOUNT)

    def workers(self) -> list[int]:
        """The further processes of the present job."""
        return _children(self.main.pid)

    def processes(self) -> list[int]:
        """All that are there."""
        return [self.main.pid, *self.workers()]

    def wait_for_all(self, known: Sequence[int]) -> int:
        """Wait until the main process and others have ended; returns the status."""
        status = self.main.wait(timeout=PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while any(process_is_alive(process) for process in known):
            if time.monotonic() > deadline:
                raise TimeoutError(f"processes {known} have not ended")
            time.sleep(0.2)
        return status


def kill(processes: Sequence[int]) -> None:
    """End processes at once; those that are gone are no matter."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)


def _children(process: int) -> list[int]:
    try:
        found = Path(f"/proc/{process}/task/{process}/children").read_text(encoding="utf-8")
    except OSError:
        return []
    return [int(number) for number in found.split() if b"gcp_repro" in _command(int(number))]


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def surroundings(root: Path) -> dict[str, str]:
    """Variables of every process: this checkout, one thread each, and the rehearsal's own callback as trusted."""
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH")))),
        "OMP_NUM_THREADS": "1",
        "GCP_TRUSTED": "scripts.rehearsal.divergence.Divergence",
    }
