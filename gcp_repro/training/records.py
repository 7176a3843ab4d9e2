"""What a run leaves on disk: `metrics.csv`, `result.json`, and how both are written so that no reader sees half a file."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from gcp_repro.training.diagnostics import epoch_means

__all__ = ["Row", "RunRecorder", "epoch_metrics", "read_json", "write_atomically", "write_csv", "write_json"]

Row = dict[str, float | int | str]


def write_atomically(path: Path, text: str) -> None:
    """Write a text file that is either the old one or the new one, whatever happens in between."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON, atomically."""
    write_atomically(path, json.dumps(content, indent=2) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows atomically; the columns are those of all rows in order of appearance, and a missing value is empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


class RunRecorder(Callback):
    """Writes one row an epoch to `metrics.csv` and sends it to every logger.

    The rows are part of each checkpoint and the file is written from them, so a resumed run neither repeats nor loses one.

    Args:
        path: The csv file.

    Attributes:
        rows: All epochs so far.
        seconds: Time spent in training and evaluation so far, over all sessions of the run.
        samples: Training images so far, over all processes.
        training_seconds: Share of `seconds` between the start of an epoch and its evaluation.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        self.seconds = 0.0
        self.samples = 0
        self.training_seconds = 0.0
        self._epoch_seconds = 0.0
        self._learning_rate = 0.0
        self._tick = time.perf_counter()

    def state_dict(self) -> dict[str, Any]:
        """Plain values, as loading with weights_only needs them."""
        self._count_time()
        return {
            "rows": [dict(row) for row in self.rows],
            "seconds": self.seconds,
            "samples": self.samples,
            "training_seconds": self.training_seconds,
            "epoch_seconds": self._epoch_seconds,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        self.rows = [dict(row) for row in state_dict["rows"]]
        self.seconds = state_dict["seconds"]
        self.samples = state_dict["samples"]
        self.training_seconds = state_dict["training_seconds"]
        self._epoch_seconds = state_dict["epoch_seconds"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._tick = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Note the rate of this epoch; Lightning decays it before the epoch's end is announced."""
        self._learning_rate = float(trainer.optimizers[0].param_groups[0]["lr"])

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
            "learning_rate": self._learning_rate,
            "meta_layer": str(getattr(pl_module, "meta_layer_name", "")),
            "seconds": round(self._epoch_seconds, 3),
        }
        self.rows.append(row)
        self._epoch_seconds = 0.0
        if trainer.is_global_zero:
            write_csv(self.path, self.rows)
            for logger in trainer.loggers:
                logger.log_metrics(row, step=trainer.global_step)  # type: ignore[arg-type]

    def _count_time(self) -> float:
        """Seconds since the last call, added to the run and the epoch."""
        now = time.perf_counter()
        elapsed, self._tick = now - self._tick, now
        self.seconds += elapsed
        self._epoch_seconds += elapsed
        return elapsed


def epoch_metrics(trainer: Trainer) -> dict[str, float]:
    """What was logged in an epoch, errors before diagnostics, without the digits that a float32 does not have."""
    metrics = sorted(trainer.callback_metrics.items(), key=_column_order)
    return {name: float(f"{value.item():.7g}") for name, value in metrics}


def _column_order(item: tuple[str, Any]) -> tuple[int, str]:
    split = item[0].split("/")[0]
    return (["train", "val"].index(split) if split in ("train", "val") else 2, item[0])
