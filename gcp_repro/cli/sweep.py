"""The number of jobs in a sweep, so that each job can say which of how many it is."""

from __future__ import annotations

import math
import os
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from gcp_repro.training.processes.console import SWEEP_JOBS

__all__ = ["SweepSize", "sweep_size"]


class SweepSize(Callback):
    """Hydra callback that leaves the size of a sweep to its jobs, in an environment variable."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Count the jobs."""
        params = config.hydra.sweeper.get("params") or {}  # of a configuration of the group `sweep`
        task = config.hydra.overrides.task  # wins over the configuration
        given = {override.partition("=")[0] for override in task}
        configured = [f"{key}={values}" for key, values in params.items() if key not in given]
        os.environ[SWEEP_JOBS] = str(sweep_size([*configured, *task]))


def sweep_size(overrides: list[str]) -> int:
    """Number of jobs that a grid of overrides makes.

    Example:
        >>> sweep_size(["meta_layer=svd_pade,isqrt_cov", "seed=range(3)", "protocol=hybrid"])
        6
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    return math.prod(len(list(override.sweep_string_iterator())) for override in parsed if override.is_sweep_override())
