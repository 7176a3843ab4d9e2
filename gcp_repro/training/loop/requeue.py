"""What follows when a scheduler's warning has stopped a run: its job goes back into the queue, and the run goes on from there."""

from __future__ import annotations

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gcp_repro.runs.interruption import MAX_TIME, TrainingInterrupted
from gcp_repro.runs.processes import first_process
from gcp_repro.runs.scheduler import PREEMPTIONS, job_name, put_back

__all__ = ["handed_over"]

log = logging.getLogger(__name__)


@contextmanager
def handed_over(*, requeue: bool) -> Iterator[None]:
    """Around a run: once its checkpoint is written, a warning goes to whoever listened to it before, as submitit does.

    Where nobody did, the job is put back into SLURM's queue, if asked to.

    Args:
        requeue: `trainer.requeue`: whether to do so after SIGUSR1, SIGUSR2 and `trainer.max_time`.
    """
    before: dict[int | None, Any] = {number: signal.getsignal(number) for number in PREEMPTIONS}
    try:
        yield
    except TrainingInterrupted as interruption:
        warned = interruption.signum in before
        listener = before.get(interruption.signum)
        if callable(listener):
            listener(interruption.signum, None)
        elif requeue and first_process() and (warned or interruption.reason == MAX_TIME):
            _requeue()
        raise


def _requeue() -> None:
    job = job_name()
    fault = "this is no job of SLURM" if job is None else put_back(job)
    if fault is None:
        log.info("job %s is back in the queue", job)
    else:
        log.warning("the job cannot be put back into the queue: %s; run the same command again to go on", fault)
