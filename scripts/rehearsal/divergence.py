"""The row of the rehearsal that diverges: a callback that spoils one weight."""

from __future__ import annotations

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer


class Divergence(Callback):
    """Makes one weight infinite before an epoch, in the runs of one layer and protocol.

    Args:
        layer: Of this run.
        protocol: Of this run.
        epoch: Counted from 0.
    """

    ROW = ("svd_topn", "standalone")

    def __init__(self, layer: str, protocol: str, epoch: int = 1) -> None:
        self.planted = (layer, protocol) == self.ROW
        self.epoch = epoch

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Before the first batch of the epoch."""
        if self.planted and (trainer.current_epoch, batch_idx) == (self.epoch, 0):
            with torch.no_grad():
                weight = next(pl_module.parameters())
                weight[(0,) * weight.ndim] = torch.inf
