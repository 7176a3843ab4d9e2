"""A module whose training stops, with a checkpoint, after so many steps."""

from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import nn


class StoppingModule(pl.LightningModule):
    """Learns nothing; subclasses take down what they are shown."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.stop_at = stop_at

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.global_step == self.stop_at:
            self.trainer.save_checkpoint(Path(self.trainer.default_root_dir) / "stopped.ckpt")
            raise InterruptedError

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)
