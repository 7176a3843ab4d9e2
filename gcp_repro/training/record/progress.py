"""How far a run is within an epoch: in a file, as lines where there is no terminal, and to the loggers."""

from __future__ import annotations

import logging
import math
import socket
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Annotated, Any

from pytorch_lightning import Callback, LightningModule, Trainer

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.options import AtLeast, check_options
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.durations import duration
from gcp_repro.runs.files import write_json
from gcp_repro.training.record.records import RunRecorder

__all__ = ["Progress", "progress_options"]

NONE = {"seconds": None, "steps": None, "logged_steps": None}
LOGGED = ("loss", "learning_rate", "images_per_second")

log = logging.getLogger(__name__)


def progress_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """The configuration's node `progress` as options of `Progress`; None asks for no look within an epoch.

    Raises:
        OptionError: "steps must be a whole number >= 1, or null; got 0 for progress: ..."

    Example:
        >>> progress_options({"steps": 10})
        {'seconds': 60.0, 'steps': 10, 'logged_steps': 50}
    """
    if options is not None and not isinstance(options, Mapping):
        raise OptionError(f"progress needs {', '.join(NONE)}, or null; got {options!r}: write progress.steps=100, say")
    return NONE if options is None else check_options("progress", Progress, options, skip=3)


class Progress(Callback):
    """Looks at the run every so many seconds and steps of the optimiser, on the first process.

    What it finds goes to the run directory, for `gcp-status`, and unless a progress bar is drawn to the log, as in "epoch 3 of
    30, step 1200 of 5005: loss 4.213, errors 87.50 % and 65.20 %, rate 0.1, 812 images/s, 2 h 13 min left". Errors are top-1 and
    top-5, of the epoch so far and this process's images. The time left counts as if what is to come took as long as what
    this session of the run has done.

    Args:
        run: Its directory.
        recorder: Comes before this among the callbacks.
        lines: Whether to log lines.
        seconds: Between two looks; None for none by the clock.
        steps: Between two looks; None for none by steps.
        logged_steps: Steps between the values that loggers get; None for none within an epoch.
    """

    def __init__(
        self,
        run: RunDirectory,
        recorder: RunRecorder,
        lines: bool,
        *,
        seconds: Annotated[float, AtLeast(0)] | None = 60.0,
        steps: Annotated[int, AtLeast(1)] | None = None,
        logged_steps: Annotated[int, AtLeast(1)] | None = 50,
    ) -> None:
        self.run, self.recorder = run, recorder
        self.seconds, self.steps, self.logged_steps, self.lines = seconds, steps, logged_steps, lines
        self._began = self._looked = time.monotonic()
        self._before = 0
        self._images = 0
        self._training_seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began = self._looked = time.monotonic()
        self._before = trainer.global_step
        self._images, self._training_seconds = self.recorder.samples, self.recorder.training_seconds

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Look, if it is time."""
        complete = trainer.is_last_batch or (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        if not trainer.is_global_zero or not complete:
            return
        step = trainer.global_step
        looks = self.steps is not None and step % self.steps == 0
        looks |= self.seconds is not None and time.monotonic() - self._looked >= self.seconds
        logs = bool(trainer.loggers) and self.logged_steps is not None and step % self.logged_steps == 0
        if not looks and not logs:
            return
        state = self._state(trainer, pl_module, outputs, batch_idx)
        if looks:
            self._looked = time.monotonic()
            write_json(self.run.progress, state)
            if self.lines:
                log.info("%s", _line(state))
        if logs:
            values = {f"step/{name}": state[name] for name in LOGGED if state[name] is not None}
            for logger in trainer.loggers:
                logger.log_metrics({"step/number": step, **values}, step=step)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note how far the run is."""
        if trainer.is_global_zero:
            write_json(self.run.progress, self._place(trainer, trainer.current_epoch + 1, 0))

    def _state(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch_idx: int) -> dict[str, Any]:
        passes = trainer.accumulate_grad_batches
        loss = outputs["loss"] if isinstance(outputs, Mapping) else outputs
        errors = {name: _so_far(pl_module, name) for name in ("top1_error", "top5_error")}
        return {
            **self._place(trainer, trainer.current_epoch, math.ceil((batch_idx + 1) / passes)),
            "loss": None if loss is None else float(loss) * passes,  # Lightning divides it for the sum over passes
            **errors,
            "learning_rate": self.recorder.learning_rate,
        }

    def _place(self, trainer: Trainer, epoch: int, step: int) -> dict[str, Any]:
        batches = trainer.num_training_batches
        steps = math.ceil(batches / trainer.accumulate_grad_batches) if math.isfinite(batches) else None
        epochs = trainer.max_epochs
        left = None
        seconds = self.recorder.training_seconds - self._training_seconds
        images = self.recorder.samples - self._images
        done = trainer.global_step - self._before
        if steps and epochs and done > 0:
            left = (time.monotonic() - self._began) / done * ((epochs - epoch) * steps - step)
        return {
            "epoch": epoch,
            "epochs": epochs,
            "step": step,
            "steps": steps,
            "images_per_second": round(images / seconds, 1) if seconds else None,
            "seconds_left": None if left is None else round(left, 1),
            "host": socket.gethostname(),
            "time": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC"),
        }


def _so_far(module: LightningModule, name: str) -> float | None:
    """An error over the epoch's images so far, of this process: no process waits for another."""
    metric: Any = module.metrics["train_"][name]  # type: ignore[index, operator]
    total = int(metric.total)
    return 100 * int(metric.missed) / total if total else None


SHOWN = {
    "loss": "loss {:.4g}",
    "top1_error": "errors {:.2f} %",
    "top5_error": "and {:.2f} %",
    "learning_rate": "rate {:.3g}",
    "images_per_second": "{:.0f} images/s",
}


def _line(state: Mapping[str, Any]) -> str:
    values = [text.format(state[name]) for name, text in SHOWN.items() if state[name] is not None]
    if state["seconds_left"] is not None:
        values.append(f"{duration(state['seconds_left'])} left")
    place = f"epoch {state['epoch'] + 1} of {state['epochs']}, step {state['step']} of {state['steps'] or '?'}"
    return f"{place}: {', '.join(values).replace(', and', ' and')}"
