"""One line an epoch where there is no terminal to draw a progress bar on."""

from __future__ import annotations

import logging

from pytorch_lightning import Callback, LightningModule, Trainer

from gcp_repro.training.record.records import RunRecorder

__all__ = ["EpochLines"]

log = logging.getLogger(__name__)

SHOWN = {"train/loss": "training loss {:.4g}", "val/top1_error": "error {:.2f} %", "seconds": "{:.1f} s"}


class EpochLines(Callback):
    """Logs what `RunRecorder` has written of an epoch, as in "epoch 3 of 15: training loss 0.4213, error 12.50 %, 6.1 s".

    An epoch without evaluation has no error in its line.

    Args:
        recorder: Comes before this among the callbacks.
    """

    def __init__(self, recorder: RunRecorder) -> None:
        self.recorder = recorder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the line, on the first process."""
        if trainer.is_global_zero and self.recorder.rows:
            row = self.recorder.rows[-1]
            values = ", ".join(text.format(row[name]) for name, text in SHOWN.items() if name in row)
            log.info("epoch %d of %s: %s", trainer.current_epoch + 1, trainer.max_epochs, values)
