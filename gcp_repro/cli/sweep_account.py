"""The account of a sweep: how many of its jobs ended how, and of those that did not end well why, and how to repeat them."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import chain
from typing import Any, get_args

from gcp_repro.cli.sweep_jobs import UNWRITTEN, error_line
from gcp_repro.errors import StorageError
from gcp_repro.runs.exit_codes import FAILED, FINISHED, of_signal
from gcp_repro.runs.files import read_json, write_json
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.runs.sweeps import JobRecord, JobState, SweepDirectory

__all__ = ["Account"]

TOLD = ("diverged", "failed", "lost", "locked", "interrupted")
"""States of jobs that the account tells of one by one."""
COMMAND = "gcp-train"
OVER = ("finished", "diverged", "skipped")


@dataclass(frozen=True)
class Account:
    """What has become of a sweep's jobs.

    Attributes:
        sweep: Its folder.
        jobs: By number; where the sweeper knows all beforehand, also those that have not begun.
    """

    sweep: SweepDirectory
    jobs: list[JobRecord]

    @classmethod
    def of(cls, sweep: SweepDirectory) -> Account:
        """Read what the jobs have written."""
        begun = {job.number: _with_lost(job) for job in sweep.jobs()} | UNWRITTEN
        planned = sweep.planned()
        if planned is None:
            return cls(sweep, list(begun.values()))
        missing = (JobRecord(number, "not started", overrides) for number, overrides in enumerate(planned))
        return cls(sweep, [begun.get(job.number, job) for job in missing])

    @property
    def begun(self) -> bool:
        """Whether any job has."""
        return any(job.state != "not started" for job in self.jobs)

    @property
    def counts(self) -> dict[str, int]:
        """Jobs by state."""
        found = Counter(job.state for job in self.jobs)
        return {state: found[state] for state in get_args(JobState) if found[state]}

    @property
    def exit_code(self) -> int:
        """Of the sweep: a signal's, else that of the jobs that failed, else of those that are not over; a divergence is a result.

        Jobs that failed in different ways make it `FAILED`.
        """
        signum = self.sweep.asked_to_stop()
        if signum is not None:
            return of_signal(signum)
        for states in (("failed", "lost"), ("locked",), ("interrupted",)):
            codes = {FAILED if job.state == "lost" else job.exit_code for job in self.jobs if job.state in states}
            if codes:
                return codes.pop() if len(codes) == 1 else FAILED
        return FINISHED

    def explains(self, error: BaseException) -> bool:
        """Whether an error that has come out of the sweep is that of a job."""
        if isinstance(error, TrainingInterrupted):
            return True
        return error_line(error) in {job.error for job in self.jobs}

    def close(self, error: str | None) -> None:
        """Write the file and print the account.

        Args:
            error: What ended the sweep, if anything did.
        """
        print("\n".join(self.lines()), flush=True)
        try:
            write_json(self.sweep.report, self._content(error))
        except StorageError as unwritten:
            print(unwritten, file=sys.stderr)
        else:
            print(f"report: {self.sweep.report}", flush=True)

    def _content(self, error: str | None) -> dict[str, Any]:
        return {
            "counts": self.counts,
            "total": len(self.jobs),
            "exit_code": self.exit_code,
            "error": error,
            "jobs": [{**asdict(job), "command": self.command(job)} for job in self.jobs],
        }

    def lines(self) -> Iterator[str]:
        """What is printed."""
        total, varied = len(self.jobs), self._varied()
        counts = ", ".join(
            f"{count} {state}{self._before() if state == 'skipped' else ''}" for state, count in self.counts.items()
        )
        yield f"sweep of {total}: {counts}"
        for job in self.jobs:
            if job.state in TOLD:
                own = shlex.join(override for override in job.overrides if override.partition("=")[0] in varied)
                yield f"{job.state} [{job.number + 1}/{total}] {own or shlex.join(job.overrides)}"
                yield from (f"  {name}: {text}" for name, text in self._details(job) if text)
        left = sum(job.state not in OVER for job in self.jobs)
        if left:
            yield f"the same command again trains the {left} that are not over: {shlex.join([COMMAND, *self._arguments()])}"

    def _details(self, job: JobRecord) -> Iterator[tuple[str, str | None]]:
        yield "error", job.error
        yield "log", job.log
        yield "repeat", None if job.state in OVER else self.command(job)

    def _before(self) -> str:
        """What the runs that were skipped had come to."""
        found = Counter(job.before for job in self.jobs if job.before)
        return f" ({', '.join(f'{count} {status}' for status, count in sorted(found.items(), reverse=True))} before)"

    def _arguments(self) -> list[str]:
        """Of the command that has started the sweep."""
        arguments: list[str] = read_json(self.sweep.plan)["arguments"]
        return arguments

    def _varied(self) -> set[str]:
        """Options in which the jobs differ."""
        jobs = self.sweep.planned() or [job.overrides for job in self.jobs]
        values: dict[str, set[str]] = {}
        for override in chain.from_iterable(jobs):
            name, _, value = override.partition("=")
            values.setdefault(name, set()).add(value)
        return {name for name, found in values.items() if len(found) > 1}

    def command(self, job: JobRecord) -> str:
        """What runs a job alone."""
        means = [argument for argument in self._arguments() if argument.startswith("hydra.searchpath=")]
        if any(override.startswith("sweep=") for override in job.overrides):
            means.append("hydra.mode=RUN")
        return shlex.join([COMMAND, *job.overrides, *means])


def _with_lost(job: JobRecord) -> JobRecord:
    """A job whose process is gone without a word."""
    if job.state != "running" or (job.may_be_running and not job.is_of_this_process):
        return job
    return replace(job, state="lost", error="its process ended without a word (killed, by SIGKILL or for want of memory)")
