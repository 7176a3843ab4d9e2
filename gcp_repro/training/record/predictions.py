"""What a network says of each evaluation image, and what that comes to by class."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from sklearn.metrics import confusion_matrix
from torch import Tensor

from gcp_repro.errors import OptionError
from gcp_repro.runs.files import Row, refuse_unwritable, write_csv
from gcp_repro.user_paths import printable, user_path

__all__ = ["PREDICTION_FILES", "PredictionRecorder", "check_files", "write_predictions"]

LIKELIEST = 5


class PredictionRecorder(Callback):
    """Keeps the likeliest classes of each image of an evaluation, in its order.

    Attributes:
        labels: `(N,)`, int64: classes of the images.
        classes: `(N, k)`, int64: the k = 5 likeliest (or all), the likeliest first.
        probabilities: `(N, k)`, float32: what the network gives them.
    """

    def __init__(self) -> None:
        self._batches: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Take down a batch, whose logits `validation_step` returns."""
        top = outputs.float().softmax(-1).topk(min(LIKELIEST, outputs.shape[-1]), dim=-1)
        self._batches.append((batch[1].cpu(), top.indices.cpu(), top.values.cpu()))

    @property
    def labels(self) -> np.ndarray:
        """See the class."""
        return torch.cat([labels for labels, _, _ in self._batches]).numpy()  # type: ignore[no-any-return]

    @property
    def classes(self) -> np.ndarray:
        """See the class."""
        return torch.cat([classes for _, classes, _ in self._batches]).numpy()  # type: ignore[no-any-return]

    @property
    def probabilities(self) -> np.ndarray:
        """See the class."""
        return torch.cat([values for _, _, values in self._batches]).numpy()  # type: ignore[no-any-return]


def write_predictions(files: Mapping[str, Path], recorder: PredictionRecorder, datamodule: Any) -> None:
    """Write the files that were asked for.

    Args:
        files: Paths by name in `PREDICTION_FILES`.
        recorder: What was predicted.
        datamodule: Knows the names of classes and images; numbers stand for those that it does not know.
    """
    if not files:
        return
    known = getattr(datamodule, "class_names", None)
    names = list(map(printable, known)) if known is not None else [str(label) for label in range(datamodule.num_classes)]
    source = datamodule._sources["val"]
    images = [printable(source.name(row)) if hasattr(source, "name") else str(row) for row in range(len(recorder.labels))]
    for kind, path in files.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_csv(path, PREDICTION_FILES[kind](recorder, names, images))


def _by_image(recorder: PredictionRecorder, names: Sequence[str], images: Sequence[str]) -> list[Row]:
    rows: list[Row] = []
    for image, label, classes, values in zip(images, recorder.labels, recorder.classes, recorder.probabilities, strict=True):
        row: Row = {"image": image, "label": names[label], "correct": int(classes[0] == label)}
        for place, (number, value) in enumerate(zip(classes, values, strict=True), start=1):
            row |= {f"predicted_{place}": names[number], f"probability_{place}": round(float(value), 6)}
        rows.append(row)
    return rows


def _by_class(recorder: PredictionRecorder, names: Sequence[str], images: Sequence[str]) -> list[Row]:
    """Errors in percent, and the class that a class is most often taken for."""
    rows: list[Row] = []
    for name, counts, label in zip(names, _counts(recorder, names), range(len(names)), strict=True):
        total, right = int(counts.sum()), int(counts[label])
        others = np.where(np.arange(len(names)) == label, -1, counts)
        most = int(others.argmax())
        wrong = total > right
        rows.append(
            {
                "class": name,
                "images": total,
                "top1_error": round(100 * (total - right) / total, 4) if total else "",
                "most_often_taken_for": names[most] if wrong else "",
                "times": int(counts[most]) if wrong else 0,
            }
        )
    return rows


def _confusion(recorder: PredictionRecorder, names: Sequence[str], images: Sequence[str]) -> list[Row]:
    """A row a class, a column a predicted class."""
    counts = _counts(recorder, names)
    return [
        {"class": name} | {f"{number} {other}": int(row[number]) for number, other in enumerate(names)}
        for name, row in zip(names, counts, strict=True)
    ]


def _counts(recorder: PredictionRecorder, names: Sequence[str]) -> np.ndarray:
    matrix: np.ndarray = confusion_matrix(recorder.labels, recorder.classes[:, 0], labels=range(len(names)))
    return matrix


PREDICTION_FILES = {"predictions": _by_image, "per_class": _by_class, "confusion": _confusion}
"""Tables that `gcp-eval` writes on request."""


def check_files(files: Mapping[str, str | Path | None]) -> dict[str, Path]:
    """The files that were asked for, checked before anything is scored.

    Raises:
        OptionError: A folder in a file's place, one file for two tables, or a place where no file can be.
    """
    wanted = {name: user_path(path) for name, path in files.items() if path is not None}
    takers: dict[str, str] = {}
    for name, path in wanted.items():
        refuse_unwritable(name, path)
        other = takers.setdefault(os.path.realpath(path), name)
        if other != name:
            raise OptionError(f"{other} and {name} need files of their own; both are {path}: name two")
    return wanted
