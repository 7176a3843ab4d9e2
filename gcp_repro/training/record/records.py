"""The record of a run: one row an epoch, in `metrics.csv` and to every logger."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from gcp_repro.runs.files import Row, write_csv
from gcp_repro.training.diagnostics.diagnostic import epoch_means

__all__ = ["RunRecorder", "epoch_metrics"]

SPLITS = ("train", "val")


class RunRecorder(Callback):
    """Writes one row an epoch to `metrics.csv` and sends it to every logger.

    The rows are part of each checkpoint and the file is written from them, so a resumed run neither repeats nor loses one.

    Args:
        path: The csv file.

    Attributes:
        rows: All epochs so far.
        seconds: Time spent in training and evaluation so far, over all sessions of the run.
        samples: Training images so far, over all processes.
        learning_rate: Of the epoch that goes on or was the last.
        training_seconds: Share of `seconds` between the start of an epoch and its evaluation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.seconds = 0.0
        self.samples = 0
        self.training_seconds = 0.0
        self._epoch_seconds = 0.0
        self.learning_rate = 0.0
        self._tick = time.perf_counter()

    @property
    def speed(self) -> float | None:
        """Training images a second, over all processes and sessions."""
        return round(self.samples / self.training_seconds, 1) if self.training_seconds else None

    def state_dict(self) -> dict[str, Any]:
        """Plain values, as loading with weights_only needs them."""
        self._count_time()
        return {
            "rows": [dict(row) for row in self.rows],
            "seconds": self.seconds,
            "samples": self.samples,
            "training_seconds": self.training_seconds,
            "epoch_seconds": self._epoch_seconds,
            "learning_rate": self.learning_rate,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.rows = [dict(row) for row in state_dict["rows"]]
        self.seconds = state_dict["seconds"]
        self.samples = state_dict["samples"]
        self.training_seconds = state_dict["training_seconds"]
        self._epoch_seconds = state_dict["epoch_seconds"]
        self.learning_rate = state_dict["learning_rate"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._tick = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the rate of this epoch; Lightning decays it before the epoch's end is announced."""
        self.learning_rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the images."""
        self.samples += len(batch[1]) * trainer.world_size
        self.training_seconds += self._count_time()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Complete the row. Lightning saves its checkpoints after this."""
        self._count_time()
        row: Row = {"epoch": trainer.current_epoch}
        row |= epoch_metrics(trainer) | epoch_means(trainer)
        row |= {
            "learning_rate": self.learning_rate,
            "meta_layer": str(getattr(pl_module, "meta_layer_name", "")),
            "seconds": round(self._epoch_seconds, 3),
        }
        self.rows.append(row)
        self._epoch_seconds = 0.0
        if trainer.is_global_zero:
            write_csv(self.path, self.rows)
            numbers = {name: value for name, value in row.items() if not isinstance(value, str)}  # some loggers know no others
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=trainer.global_step)

    def _count_time(self) -> float:
        """Seconds since the last call, added to the run and the epoch."""
        now = time.perf_counter()
        elapsed, self._tick = now - self._tick, now
        self.seconds += elapsed
        self._epoch_seconds += elapsed
        return elapsed


def epoch_metrics(trainer: Trainer) -> dict[str, float]:
    """What an epoch gave, errors before diagnostics, without the digits that a float32 does not have.

    The module's own metrics are those that it has reported since the epoch began; Lightning goes on showing the validation
    metrics of an earlier epoch where one is not evaluated.
    """
    logged = {name: value.item() for name, value in trainer.callback_metrics.items()}
    reports: dict[str, float] | None = getattr(trainer.lightning_module, "reports", None)
    if reports is not None:
        logged = {name: value for name, value in logged.items() if name.split("/")[0] not in SPLITS} | reports
    return {name: float(f"{value:.7g}") for name, value in sorted(logged.items(), key=_column_order)}


def _column_order(item: tuple[str, Any]) -> tuple[int, str]:
    split = item[0].split("/")[0]
    return (SPLITS.index(split) if split in SPLITS else len(SPLITS), item[0])
