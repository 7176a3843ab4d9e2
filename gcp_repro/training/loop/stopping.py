"""Ctrl-C, SIGTERM, a scheduler's warning and limits of time or steps end a run at a point from which it resumes exactly."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.utilities.exceptions import SIGTERMException

from gcp_repro.runs.interruption import MAX_STEPS, MAX_TIME, TrainingInterrupted
from gcp_repro.runs.scheduler import PREEMPTIONS

__all__ = ["StopRequest", "StopWhenAsked"]

log = logging.getLogger(__name__)

SIGNALS = (signal.SIGTERM, signal.SIGINT, *PREEMPTIONS)


class StopRequest:
    """Signals to a run, from its first moment to its last.

    Outside of `held_back` a signal raises `TrainingInterrupted` where it arrives: nothing is lost then. Within, it is noted
    for `StopWhenAsked`, which stops at the next batch; a second Ctrl-C stops at once, and the run resumes from its last
    checkpoint. In threads other than the main one signals cannot be caught, and nothing happens.

    Args:
        seconds: After which the run is to stop as if a signal had come; None for never.
        steps: Optimiser steps from the start of training after which it is to stop; None for no limit.
    """

    def __init__(self, seconds: float | None = None, steps: int | None = None) -> None:
        self.signum: int | None = None
        self.steps = steps
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self._held_back = self._raised = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        self.listen()
        return self

    def __exit__(self, kind: object, error: BaseException | None, *trace: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
        if self._raised and isinstance(error, Exception) and not isinstance(error, TrainingInterrupted):
            self.raise_if_signalled()  # Hydra makes an error of its own of what is raised while it builds an object

    def listen(self) -> None:
        """Take the signals over, also from Lightning, which claims them when it sets training up."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                before = signal.signal(number, self._receive)
                self._previous.setdefault(number, before)

    @contextmanager
    def held_back(self) -> Iterator[None]:
        """Within this, signals wait for the end of a batch."""
        self._held_back = True
        try:
            yield
        finally:
            self._held_back = False

    def hold_back(self) -> None:
        """The same without an end: training has begun."""
        self._held_back = True

    def reason(self, step: int) -> TrainingInterrupted | None:
        """Why to stop after so many optimiser steps; None to go on."""
        if self.signum is not None:
            return TrainingInterrupted(self.signum)
        if self._deadline is not None and time.monotonic() >= self._deadline:
            return TrainingInterrupted(MAX_TIME)
        if self.steps is not None and step >= self.steps:
            return TrainingInterrupted(MAX_STEPS)
        return None

    def raise_if_signalled(self) -> None:
        """Stop, if a signal came that nothing has acted on."""
        if self.signum is not None:
            raise TrainingInterrupted(self.signum)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        again, self.signum = self.signum is not None, signum
        if not self._held_back or (again and signum == signal.SIGINT):
            self._raised = True
            raise TrainingInterrupted(signum)
        log.warning("%s: stopping after this batch (Ctrl-C stops at once)", signal.Signals(signum).name)


class StopWhenAsked(Callback):
    """Finishes the batch, saves a checkpoint and raises `TrainingInterrupted`, in training and in validation.

    Stopping anywhere else would lose or repeat a batch: Lightning's own handling of Ctrl-C may save a loader that is one batch
    ahead of the weights. Between the gradients of one step it waits for the step. After an epoch's last batch the checkpoint
    is taken in the validation that follows, which the resumed run repeats. Under DDP all processes stop at the same batch.

    Args:
        request: What asks.
        checkpoint: File to save to.
    """

    def __init__(self, request: StopRequest, checkpoint: Path) -> None:
        self.request, self.checkpoint = request, checkpoint
        self._validating = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on signals wait for the end of a batch."""
        self.request.hold_back()
        self.request.listen()
        self._stop_if_asked(trainer, save=False)

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Stop here, unless the epoch or the step is about to end."""
        if not trainer.is_last_batch and (batch_idx + 1) % trainer.accumulate_grad_batches == 0:
            self._stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: Trainer, pl_module: LightningModule, *batch: Any) -> None:
        """Stop here; the weights are those of the epoch's end."""
        if trainer.state.fn == "fit":
            self._validating = True
            self._stop_if_asked(trainer)
            self._validating = False

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between epochs: the checkpoint has been saved."""
        self._stop_if_asked(trainer, save=False)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Of a checkpoint in validation, let Lightning know that the training batches are over and validation is not."""
        if self._validating:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            for count in ("total", "current"):
                progress[count].update(ready=1, started=1, processed=0, completed=0)

    def _stop_if_asked(self, trainer: Trainer, *, save: bool = True) -> None:
        reason = self.request.reason(trainer.global_step)
        if not trainer.strategy.reduce_boolean_decision(reason is not None, all=False):
            return
        if save:
            trainer.save_checkpoint(self.checkpoint, weights_only=False)
        raise reason or TrainingInterrupted(signal.SIGTERM)


@contextmanager
def as_interruption() -> Iterator[None]:
    """Turn the exceptions that Lightning makes of signals into `TrainingInterrupted`."""
    try:
        yield
    except SIGTERMException:
        raise TrainingInterrupted(signal.SIGTERM) from None
