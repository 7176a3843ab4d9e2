"""A callback with which some runs of a sweep go wrong, until somebody mends it."""

import os
import signal
from pathlib import Path

import torch
from pytorch_lightning import Callback


class Trouble(Callback):
    """What happens before the first step, by the run's seed.

    Args:
        seed: Of the run.
        mended: A file; where it exists nothing goes wrong.
        diverging: The seed whose weights stop being finite.
        failing: The seed whose run fails.
        signalled: The seed at which the process is sent SIGTERM.
    """

    def __init__(self, seed, mended, diverging=-1, failing=-1, signalled=-1):
        self.seed, self.mended = seed, Path(mended)
        self.diverging, self.failing, self.signalled = diverging, failing, signalled

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if self.mended.exists():
            return
        if self.seed == self.failing:
            raise RuntimeError("the machine is on fire\nand this is no first line")
        if self.seed == self.diverging:
            with torch.no_grad():
                next(pl_module.parameters()).fill_(torch.nan)
        if self.seed == self.signalled:
            os.kill(os.getpid(), signal.SIGTERM)
