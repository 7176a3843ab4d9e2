"""What a sweep is on disk: a folder with what was asked for, one file a job, and at the end the account.

Each job's file is written by the process that trains it, whichever launcher has started that, so that a worker that is killed
leaves its beginning behind.
"""

from __future__ import annotations

import os
import shutil
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from gcp_repro.runs.files import read_json, write_atomically, write_json
from gcp_repro.runs.lock import process_is_alive

__all__ = ["JobRecord", "JobState", "SweepDirectory"]

JobState = Literal["running", "finished", "diverged", "skipped", "failed", "locked", "interrupted", "lost", "not started"]


@dataclass
class JobRecord:
    """One job of a sweep.

    Attributes:
        number: Counted from 0, as Hydra does.
        state: "skipped" was over before; "locked" is another process's; "lost" has begun, and its process is gone.
        overrides: Of the job alone, those that all jobs share included.
        directory: Of the run; None before it is known.
        before: Of a job that was skipped, what its run had come to.
        error: Of a job that did not end well, the kind of error and the first line of its message.
        exit_code: That the job's command would have ended with alone.
        log: File that says more, if there is one.
        traceback: Of an error that is no mistake in the configuration.
        host: Where it runs or ran.
        process: Its number there.
    """

    number: int
    state: JobState
    overrides: list[str]
    directory: str | None = None
    before: str = ""
    error: str = ""
    exit_code: int = 0
    log: str | None = None
    traceback: str | None = None
    host: str = field(default_factory=socket.gethostname)
    process: int = field(default_factory=os.getpid)

    @property
    def may_be_running(self) -> bool:
        """Whether a process of this machine is at it, or one of another machine, which cannot be asked."""
        elsewhere = self.host != socket.gethostname()
        return self.state == "running" and (elsewhere or process_is_alive(self.process))

    @property
    def is_of_this_process(self) -> bool:
        """Whether this process is, or was, at it."""
        return (self.host, self.process) == (socket.gethostname(), os.getpid())

    @property
    def runs_beside(self) -> bool:
        """Whether another process of this machine is at it."""
        return self.may_be_running and self.host == socket.gethostname() and not self.is_of_this_process

    def ended(self, result: Mapping[str, Any], *, known: bool) -> None:
        """Note a result.

        Args:
            result: Content of `result.json`.
            known: Whether the run was over before.
        """
        self.state = "skipped" if known else result["status"]
        self.before = result["status"] if known else ""
        self.error = str(result.get("message") or "")


class SweepDirectory:
    """The files of one start of a sweep.

    Args:
        path: The directory; need not exist.

    Attributes:
        plan: What was asked for: arguments, folder, host, process, and the overrides of each job.
        report: What has become of it.
        stop: The number of the signal after which no job begins.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.plan = self.path / "sweep.json"
        self.report = self.path / "report.json"
        self.stop = self.path / "stop"

    @classmethod
    def new(cls, runs: Path) -> SweepDirectory:
        """One that does not exist, below a folder of runs; its name has the time, to be sorted by."""
        return cls(runs / "sweeps" / f"{time.strftime('%Y-%m-%d_%H-%M-%S')}_{socket.gethostname()}_{os.getpid()}")

    def begin(self, arguments: Sequence[str], jobs: Sequence[Sequence[str]] | None) -> None:
        """Make the folder.

        Args:
            arguments: Of the command, as they were typed.
            jobs: Overrides of each, where they are known beforehand.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        plan = {"arguments": list(arguments), "folder": str(Path.cwd()), "host": socket.gethostname(), "process": os.getpid()}
        write_json(self.plan, {**plan, "jobs": jobs})

    def discard(self) -> None:
        """Take the folder away again: nothing has begun."""
        shutil.rmtree(self.path, ignore_errors=True)
        with suppress(OSError):
            self.path.parent.rmdir()

    def main_process(self) -> bool:
        """Whether this process has started the sweep."""
        plan = read_json(self.plan)
        return (plan["host"], plan["process"]) == (socket.gethostname(), os.getpid())

    def planned(self) -> list[list[str]] | None:
        """Overrides of each job; None where the sweeper finds them as it goes."""
        jobs: list[list[str]] | None = read_json(self.plan)["jobs"]
        return jobs

    def write(self, job: JobRecord) -> None:
        """Replace the file of a job."""
        write_json(self.path / f"job-{job.number:05d}.json", asdict(job))

    def jobs(self) -> list[JobRecord]:
        """Those that have begun, in order."""
        return [JobRecord(**content) for content in self._contents()]

    def _contents(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self.path.glob("job-*.json")):
            with suppress(OSError, ValueError):
                yield read_json(path)

    def ask_to_stop(self, signum: int) -> None:
        """Let no further job begin."""
        write_atomically(self.stop, str(signum))

    def asked_to_stop(self) -> int | None:
        """The signal after which no job begins, if there was one."""
        try:
            return int(self.stop.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
