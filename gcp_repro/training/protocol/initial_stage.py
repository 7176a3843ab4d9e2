"""Hybrid runs that differ in the configured layer alone are one run until the swap: train that part once.

The first such run leaves a copy of its checkpoint at the swap; the others go on from there, to the same weights as if each
had trained the Newton-Schulz stage itself. This saves most of the time of a hybrid sweep, and makes its layers start from
the same point even where hardware is not deterministic.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer

from gcp_repro.errors import StorageError
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.files import replacing
from gcp_repro.runs.identity import initial_stage_hash

__all__ = ["InitialStage", "KeepInitialStage"]


class InitialStage:
    """Where hybrid runs that agree in all but the meta-layer share their state at the swap.

    Args:
        path: The checkpoint.

    Attributes:
        best: The best weights up to there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.best = path.with_name(f"{path.stem}-best{path.suffix}")

    @classmethod
    def of(cls, config: DictConfig) -> InitialStage | None:
        """Of a run; None for the standalone protocol, or with `protocol.share_initial_stage=false`."""
        if config.protocol.name != "hybrid" or not config.protocol.share_initial_stage:
            return None
        return cls(Path(config.paths.runs_dir) / ".initial_stages" / f"{initial_stage_hash(config)}.ckpt")

    def keep(self, run: RunDirectory) -> None:
        """Copy a run's files here, the checkpoint last: where it is, the other is."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(self.path, error) from error
        if run.best.is_file():
            _copy(run.best, self.best)
        _copy(run.last, self.path)

    def hand_over(self, run: RunDirectory) -> None:
        """Give a run that goes on from here the best weights so far."""
        if self.best.is_file() and not run.best.exists():
            run.checkpoints.mkdir(exist_ok=True)
            _copy(self.best, run.best)


class KeepInitialStage(Callback):
    """At the swap, keeps the state of the epoch before it for other runs.

    Args:
        swap_epoch: First epoch of the configured layer.
        run: The run's directory.
        stage: Where to.
    """

    def __init__(self, swap_epoch: int, run: RunDirectory, stage: InitialStage) -> None:
        self.swap_epoch, self.run, self.stage = swap_epoch, run, stage

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The checkpoint on disk is that of the stage before."""
        if trainer.current_epoch == self.swap_epoch and trainer.is_global_zero and not self.stage.path.exists():
            self.stage.keep(self.run)


def _copy(source: Path, target: Path) -> None:
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)
