"""Several processes on one job: what they exchange, and how a job of a Hydra sweep starts them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed
from hydra.core.hydra_config import HydraConfig

from gcp_repro.training.processes.console import in_sweep

__all__ = ["distributed", "gathered", "rank", "single_job_command"]

LAUNCH_VARIABLES = ("LOCAL_RANK", "NODE_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def distributed() -> bool:
    """Whether several processes train together."""
    return torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1


def rank() -> int:
    """Number of this process among them."""
    return torch.distributed.get_rank() if distributed() else 0


def gathered(own: Any) -> list[Any]:
    """What each of them passes, by rank; every one of them has to call this."""
    if not distributed():
        return [own]
    parts: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(parts, own)
    return parts


@contextmanager
def single_job_command() -> Iterator[None]:
    """Within a sweep, let the process look as if it had been started for the current job alone.

    Lightning's DDP starts its other processes by repeating this one's command line. In a sweep that would start the whole sweep
    again in each of them. Afterwards the command line, Lightning's environment variables and the process group are as
    they were, so that the next job of the sweep can start processes of its own. Outside of sweeps this does nothing.
    """
    if not in_sweep():
        yield
        return
    main = sys.modules["__main__"]
    argv, spec = sys.argv, main.__spec__
    environment = {name: os.environ.get(name) for name in LAUNCH_VARIABLES}
    sys.argv = [
        argv[0],
        *HydraConfig.get().overrides.task,
        "hydra.mode=RUN",
    ]  # a configuration of the group sweep asks for a sweep
    main.__spec__ = None  # else the command would be that of the launcher's worker: python -m joblib...
    try:
        yield
    finally:
        sys.argv, main.__spec__ = argv, spec
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
