"""One line of JSON an epoch, for programs that follow a run."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from gcp_repro.errors import StorageError
from gcp_repro.runs.files import json_line, write_atomically
from gcp_repro.training.record.records import RunRecorder

__all__ = ["JsonLines"]


class JsonLines(Callback):
    """Appends what `RunRecorder` has written of an epoch to a file that can be followed, with the time of day.

    A run that goes on from an earlier epoch first takes the lines back that this has undone.

    Args:
        path: The file.
        recorder: Comes before this among the callbacks.
    """

    def __init__(self, path: Path, recorder: RunRecorder) -> None:
        self.path, self.recorder = path, recorder

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the lines of the epochs that the run goes on from."""
        if trainer.is_global_zero and self.path.exists():
            known = {row["epoch"] for row in self.recorder.rows}
            lines = [line for line in _lines(self.path) if _epoch(line) in known]
            write_atomically(self.path, "".join(f"{line}\n" for line in lines))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Append a line."""
        if not trainer.is_global_zero or not self.recorder.rows:
            return
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        row = {**self.recorder.rows[-1], "epochs": trainer.max_epochs, "samples_per_second": self.recorder.speed, "time": now}
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json_line(row) + "\n")
        except OSError as error:
            raise StorageError(self.path, error) from error


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8", errors="replace").splitlines()


def _epoch(line: str) -> Any:
    """Of a line that is whole."""
    with suppress(ValueError, AttributeError):
        return json.loads(line).get("epoch")
    return None
