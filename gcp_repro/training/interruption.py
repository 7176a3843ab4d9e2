"""Ctrl-C and SIGTERM end a run at a point from which it resumes exactly."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

__all__ = ["StopOnSignal", "TrainingInterrupted"]

log = logging.getLogger(__name__)


class TrainingInterrupted(Exception):
    """A run was asked to stop and has saved a checkpoint.

    Args:
        signum: The signal that asked.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}; run the same command again to go on")
        self.exit_code = 128 + signum


class StopOnSignal(Callback):
    """On SIGTERM or SIGINT, finishes the batch, saves a checkpoint and raises `TrainingInterrupted`.

    Stopping anywhere else would lose or repeat a batch: Lightning's own handling of Ctrl-C may save a loader that is one batch
    ahead of the weights. After an epoch's last batch the epoch is completed first. Under DDP all processes stop at the same
    batch. A second Ctrl-C stops at once, and the
    run resumes from the last checkpoint.

    Args:
        checkpoint: File to save to.
    """

    signals = (signal.SIGTERM, signal.SIGINT)

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the signals over from Lightning, which has claimed them just before."""
        self.received = None
        if threading.current_thread() is threading.main_thread():
            self._previous = {number: signal.signal(number, self._receive) for number in self.signals}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop here, unless the epoch is about to end."""
        if self._asked(trainer) and not trainer.is_last_batch:
            trainer.save_checkpoint(self.checkpoint)
            self._stop()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop after an epoch: its checkpoint has been saved."""
        if self._asked(trainer):
            self._stop()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the signals back; Lightning itself puts back what was before it only after this."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._restore()

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        signal.signal(signal.SIGINT, signal.default_int_handler)
        log.warning("%s: stopping after this batch (Ctrl-C stops at once)", signal.Signals(signum).name)

    def _asked(self, trainer: Trainer) -> bool:
        return bool(trainer.strategy.reduce_boolean_decision(self.received is not None, all=False))

    def _stop(self) -> None:
        raise TrainingInterrupted(self.received or signal.SIGTERM)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
