"""The scheduler that a run is a job of: what it warns with, and how a job goes back into its queue."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping

__all__ = ["PREEMPTIONS", "job_name", "put_back"]

PREEMPTIONS = tuple(getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name))
"""Signals by which schedulers say that a job's time is about to end; submitit takes the second."""


def job_name(environment: Mapping[str, str] = os.environ) -> str | None:
    """Of the SLURM job that this process belongs to; of an array, of its own task alone. None outside of jobs.

    Example:
        >>> job_name({"SLURM_JOB_ID": "17", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3"})
        '17_3'
    """
    if "SLURM_ARRAY_JOB_ID" in environment:  # one task has the number of the whole array
        return f"{environment['SLURM_ARRAY_JOB_ID']}_{environment['SLURM_ARRAY_TASK_ID']}"
    return environment.get("SLURM_JOB_ID")


def put_back(job: str) -> str | None:
    """Let SLURM end a job and start it again later.

    Returns:
        Why it could not be done; None where it was.
    """
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None if done.returncode == 0 else done.stderr.strip() or f"scontrol gave status {done.returncode}"
