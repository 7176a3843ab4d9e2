"""A run's solvers: those measured as the fastest on its machine, the same in all processes and after every resume."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import astuple
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from gcp_repro.errors import DataError
from gcp_repro.linalg.pooling import solver_for
from gcp_repro.linalg.solvers import Solvers, SolverTime, has_choice, using
from gcp_repro.metalayers.covariance_pooling import CovariancePooling
from gcp_repro.runs.machine import SOLVERS_VARIABLE, cpu_name
from gcp_repro.training.processes.distributed import gathered

__all__ = ["KeepSolvers", "device_name", "kept_solvers", "measured_times"]


def device_name(device: torch.device) -> str:
    """Of the GPU, or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else cpu_name()


def measured_times(path: Path | None, device: torch.device) -> list[SolverTime]:
    """The rows of a file of `gcp-bench tune` that were measured on such a device; none where there is no file.

    Raises:
        DataError: It is no such file.
    """
    if path is None or not path.is_file():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return [
                SolverTime(
                    device.type, row["work"], int(row["channels"]), int(row["positions"]), row["solver"], float(row["seconds"])
                )
                for row in csv.DictReader(file)
                if row["device_name"] == device_name(device)
            ]
    except (OSError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
        raise DataError(
            f"the solvers of this machine need a file that gcp-bench tune wrote; reading {path} gave {error!r}: write it again, "
            f"remove it, or set {SOLVERS_VARIABLE} to another file or to nothing"
        ) from error


def kept_solvers(checkpoint: Mapping[str, Any]) -> Solvers:
    """What the run that a checkpoint is from went by."""
    state = checkpoint.get("callbacks", {}).get(KeepSolvers.__qualname__, {"times": []})
    return Solvers(SolverTime(*time) for time in state["times"])


class KeepSolvers(Callback):
    """Lets layers ask the measurements of this machine, or, in a run that is resumed, those that it was begun with.

    Args:
        path: File of the measurements.

    Raises:
        DataError: It is not one.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self.solvers = Solvers()
        self._taken_before: set[str] = set()
        self._stack = ExitStack()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Read the first process's file; all others go by it too."""
        device = trainer.strategy.root_device
        self._use(gathered(measured_times(self.path, device) if trainer.is_global_zero else None)[0])

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """What other code in this process chooses is its own affair."""
        self._stack.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """The same where training ends early."""
        self._stack.close()

    def state_dict(self) -> dict[str, Any]:
        """The measurements, and what was chosen by them."""
        return {"times": [astuple(time) for time in self.solvers.times], "taken": sorted(self._taken_before | self.solvers.taken)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with those of before."""
        self._taken_before = set(state_dict["taken"])
        self._use(SolverTime(*time) for time in state_dict["times"])

    def taken(self, network: nn.Module, device: torch.device) -> str | None:
        """Names of the solvers that layers took where they had a choice; None where they had none."""
        taken = self._taken_before | self.solvers.taken
        if not taken:  # a compiled network does not ask
            specs = [layer.spec for layer in network.modules() if isinstance(layer, CovariancePooling)]
            taken = {solver_for(spec, device) for spec in specs if has_choice(spec)}
        return ", ".join(sorted(taken)) or None

    def _use(self, times: Iterable[SolverTime]) -> None:
        self._stack.close()
        self.solvers = Solvers(times)
        self._stack.enter_context(using(self.solvers))
