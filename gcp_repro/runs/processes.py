"""Which of a run's processes this is, by what its launcher has left in the environment; known before they know one another."""

from __future__ import annotations

import os

__all__ = ["first_process", "process_name"]

GLOBAL_RANKS = ("RANK", "SLURM_PROCID", "JSM_NAMESPACE_RANK")  # of torchrun and SLURM's srun and LSF's jsrun
PARTS_OF_RANK = ("NODE_RANK", "GROUP_RANK", "LOCAL_RANK")  # of Lightning's own launcher


def first_process() -> bool:
    """Whether this is the process of a run that writes."""
    return process_name() == "0"


def process_name() -> str:
    """The process's number among those of the run, or where only its parts are known node and number: "0" for the first.

    Example:
        >>> process_name()
        '0'
    """
    for name in GLOBAL_RANKS:
        if os.environ.get(name, "").isdigit():
            return os.environ[name]
    parts = [os.environ[name] for name in PARTS_OF_RANK if os.environ.get(name, "0") != "0"]
    return "-".join(parts) or "0"
