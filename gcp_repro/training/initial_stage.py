"""Hybrid runs that differ in the configured layer alone are one run until the swap: train that part once.

The first such run leaves a copy of its checkpoint at the swap; the others go on from there, to the same weights as if each
had trained the Newton-Schulz stage itself. This saves most of the time of a hybrid sweep, and makes its layers start from
the same point even where hardware is not deterministic.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, LightningModule, Trainer

from gcp_repro.training.rundir import without_irrelevant

__all__ = ["KeepInitialStage", "initial_stage_path"]


def initial_stage_path(config: DictConfig) -> Path | None:
    """Where hybrid runs that agree with `config` in all but the meta-layer share their checkpoint at the swap.

    `None` for the standalone protocol, or with `protocol.share_initial_stage=false`.
    """
    if config.protocol.name != "hybrid" or not config.protocol.share_initial_stage:
        return None
    content: Any = OmegaConf.to_container(config, resolve=True)
    content.pop("meta_layer")
    text = json.dumps(without_irrelevant(content), sort_keys=True, default=str)
    name = hashlib.sha256(text.encode()).hexdigest()[:16]
    runs: Path = Path(config.paths.runs_dir)
    return runs / ".initial_stages" / f"{name}.ckpt"


class KeepInitialStage(Callback):
    """Copies the checkpoint of the epoch before the swap to the place that other runs look at.

    Args:
        swap_epoch: First epoch of the configured layer.
        last: Checkpoint of the latest complete epoch.
        shared: Where to.
    """

    def __init__(self, swap_epoch: int, last: Path, shared: Path) -> None:
        self.swap_epoch, self.last, self.shared = swap_epoch, last, shared

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """At the swap, the checkpoint on disk is that of the stage before it."""
        if trainer.current_epoch == self.swap_epoch and trainer.is_global_zero and not self.shared.exists():
            self.shared.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.shared.with_name(f".{self.shared.name}.{os.getpid()}")
            shutil.copyfile(self.last, temporary)
            temporary.replace(self.shared)
