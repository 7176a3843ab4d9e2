"""A sweep, seen from the process that has started it: how many jobs there are, signals to all of them, the account at the end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gcp_repro.cli.sweep_account import Account
from gcp_repro.cli.sweep_jobs import SIGNALS, SWEEP_FOLDER, UNWRITTEN, error_line
from gcp_repro.runs.exit_codes import of_signal
from gcp_repro.runs.sweeps import SweepDirectory
from gcp_repro.training.processes.console import SWEEP_JOBS

__all__ = ["Sweep", "jobs_of_grid", "with_account"]


class Sweep(Callback):
    """Hydra callback: makes the sweep's folder, and tells each job where it is and how many jobs there are."""

    started: SweepDirectory | None = None
    """The sweep that this process has started."""

    def __init__(self) -> None:
        self.environment: dict[str, str] = {}  # goes to the workers with this object

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Write down what was asked for."""
        jobs = None
        if config.hydra.sweeper["_target_"].endswith(".BasicSweeper"):
            params = config.hydra.sweeper.get("params") or {}  # of a configuration of the group `sweep`
            jobs = jobs_of_grid([*(f"{key}={values}" for key, values in params.items()), *config.hydra.overrides.task])
            self.environment[SWEEP_JOBS] = str(len(jobs))
        sweep = SweepDirectory.new(Path(config.hydra.sweep.dir))
        sweep.begin(sys.argv[1:], jobs)
        self.environment[SWEEP_FOLDER] = str(sweep.path.absolute())
        Sweep.started = sweep

    def on_job_start(self, config: DictConfig, **kwargs: Any) -> None:
        """In the process that runs the job."""
        os.environ.update(self.environment)


def jobs_of_grid(overrides: list[str]) -> list[list[str]]:
    """The overrides of each job that Hydra's own sweeper makes of a grid, in its order.

    Example:
        >>> len(jobs_of_grid(["meta_layer=svd_pade,isqrt_cov", "seed=range(3)", "protocol=hybrid"]))
        6
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return [list(job) for job in BasicSweeper.split_arguments(parsed, None)[0]]


def with_account(main: Callable[[], object]) -> Callable[[], None]:
    """A command that, where it was a sweep, ends with an account of its jobs, also when it is stopped or one of them fails.

    Args:
        main: The command. What it raises passes, unless it is the failure of a job, which the account tells.
    """

    def run() -> None:
        Sweep.started = None
        UNWRITTEN.clear()
        error: BaseException | None = None
        with _signals_to_all_jobs():
            try:
                main()
            except BaseException as raised:
                error = raised
            sweep = Sweep.started
            if sweep is None:
                if error is not None:
                    raise error
                return
            account = Account.of(sweep)
            if error is not None and not account.begun:
                sweep.discard()
                raise error
            account.close(None if error is None else error_line(error))
        if error is not None and not account.explains(error):
            raise error
        if account.exit_code:
            raise SystemExit(account.exit_code)

    return run


@contextmanager
def _signals_to_all_jobs() -> Iterator[None]:
    """Hand SIGTERM and the first Ctrl-C on to the jobs of a sweep that run in other processes here, and wait for them.

    They save a checkpoint and end, and no further job begins. Where there are none the signal ends the command: a scheduler's
    jobs are the scheduler's.
    """
    previous = {number: signal.getsignal(number) for number in SIGNALS}

    def receive(signum: int, frame: FrameType | None) -> None:
        sweep = Sweep.started
        again = sweep is not None and sweep.asked_to_stop() is not None
        if sweep is not None and not (again and signum == signal.SIGINT) and _hand_on(sweep, signum):
            return
        handler = previous[signal.Signals(signum)]
        if not callable(handler):
            raise SystemExit(of_signal(signum))
        handler(signum, frame)

    for number in SIGNALS:
        signal.signal(number, receive)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _hand_on(sweep: SweepDirectory, signum: int) -> bool:
    """Stop the jobs that run in other processes of this machine; returns whether there are any."""
    running = [job for job in sweep.jobs() if job.runs_beside]
    if running:
        sweep.ask_to_stop(signum)
    for job in running:
        os.kill(job.process, signal.SIGTERM)  # a second Ctrl-C, to a run, would lose what came after its last checkpoint
    return bool(running)
