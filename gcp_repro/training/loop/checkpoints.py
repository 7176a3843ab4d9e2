"""Checkpoints that survive: written beside the old ones, checked before they are used, the best one derived from the record."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins import TorchCheckpointIO

from gcp_repro.errors import DataError, GCPError, StorageError
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.files import Row, previous_of, replacing, require_space, set_aside
from gcp_repro.runs.integrity import damage
from gcp_repro.training.record.records import RunRecorder
from gcp_repro.weight_files import load_plain

__all__ = ["DurableCheckpointIO", "SaveCheckpoints", "best_row", "first_difference", "usable_checkpoint"]

log = logging.getLogger(__name__)

STATES_OF_PARAMETERS = 5
"""Copies of the parameters that the checkpoints of a run take: twice weights and momentum, and the best weights."""


class DurableCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, waits for the disk, then replaces, and keeps the file before it.

    Lightning's own writer goes by way of TMPDIR: where that is another file system it truncates the old file and copies.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any | None = None) -> None:
        """Write a checkpoint.

        Raises:
            StorageError: The disk is full, or the folder has gone; the old file is left as it was.
        """
        path = Path(path)
        if path.exists():
            require_space(path.parent, path.stat().st_size)
        with replacing(path, keep_previous=True) as temporary:
            try:
                torch.save(checkpoint, temporary)
            except RuntimeError as error:  # torch's writer has no other for a full disk
                raise StorageError(path, str(error).splitlines()[0]) from error


class SaveCheckpoints(Checkpoint):
    """After each epoch, `last.ckpt` to resume from, and `best.ckpt` where the epoch is the best so far.

    The record's rows decide which is the best. `last` is saved first, so whatever happens in between, the best weights are in
    one of the two, and `restore_best` finds them.

    Args:
        run: The directory.
        recorder: Its rows.
        marks: Entries added to each checkpoint, by which it is known as the run's own.
    """

    def __init__(self, run: RunDirectory, recorder: RunRecorder, marks: dict[str, Any]) -> None:
        self.run, self.recorder, self.marks = run, recorder, marks

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Make the folder, and see that there is room.

        Raises:
            StorageError: There is none.
        """
        if stage == "fit" and trainer.is_global_zero:
            try:
                self.run.checkpoints.mkdir(exist_ok=True)
            except OSError as error:
                raise StorageError(self.run.checkpoints, error) from error
            size = sum(parameter.nbytes for parameter in pl_module.parameters())
            require_space(self.run.checkpoints, STATES_OF_PARAMETERS * size)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Mark it, and say what data it was trained on."""
        checkpoint.update(self.marks, data=_fingerprint(trainer))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Refuse to go on with other data.

        Raises:
            DataError: Classes or numbers of images are not those that the run was begun with.
        """
        begun, now = checkpoint.get("data"), _fingerprint(trainer)
        different = [name for name in begun or () if begun[name] != now.get(name)]  # type: ignore[index]
        if begun and now and different:
            name, was, is_now = first_difference(different[0], begun[different[0]], now.get(different[0]))
            raise DataError(
                f"{self.run.path} was begun with other data: {name} was {was!r} and is {is_now!r}: "
                "set data.root back, or give these data another name with experiment_name=NAME"
            )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A process that ended between two files has left the best weights in another one."""
        if trainer.is_global_zero:
            restore_best(self.run, self.recorder.rows)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; the recorder has completed its row before."""
        if trainer.is_global_zero and not self.run.lock.parent.is_dir():
            raise StorageError(self.run.path, "the folder has vanished")
        trainer.save_checkpoint(self.run.last, weights_only=False)
        best = best_row(self.recorder.rows)
        if best is not None and best["epoch"] == trainer.current_epoch:
            trainer.save_checkpoint(self.run.best, weights_only=True)


def best_row(rows: list[Row]) -> Row | None:
    """The first epoch with the smallest validation error; None where none was evaluated."""
    evaluated = [row for row in rows if "val/top1_error" in row]
    return min(evaluated, key=lambda row: row["val/top1_error"], default=None)


def restore_best(run: RunDirectory, rows: list[Row]) -> None:
    """Make `best.ckpt` that of the best epoch in the record, from whichever file holds its weights."""
    best = best_row(rows)
    if best is None or _epoch_of(run.best) == best["epoch"]:
        return
    source = next(
        (path for path in (previous_of(run.best), run.last, previous_of(run.last)) if _epoch_of(path) == best["epoch"]), None
    )
    if source is None:
        log.warning("the weights of the best epoch, %s, are in no file of %s", best["epoch"], run.checkpoints)
        return
    state = load_plain(source)
    weights = {name: state[name] for name in ("epoch", "global_step", "pytorch-lightning_version", "state_dict")}
    with replacing(run.best) as temporary:
        torch.save(weights, temporary)


def _epoch_of(path: Path) -> int | None:
    if damage(path) is not None:
        return None
    epoch = torch.load(path, map_location="meta", weights_only=True, mmap=True).get("epoch")
    return epoch if isinstance(epoch, int) else None


def usable_checkpoint(paths: Iterator[Path] | list[Path], marks: dict[str, Any], *, first_process: bool = True) -> Path | None:
    """The first of some files that is a whole checkpoint of the run; those before it are set aside, with a line for each.

    Args:
        paths: In order of preference; what does not exist is passed over.
        marks: Entries that the run's own checkpoints have.
        first_process: Whether to rename what is damaged: one process of a run does.
    """
    for path in paths:
        if not path.exists():
            continue
        fault = damage(path) or _foreign(path, marks)
        if fault is None:
            return path
        if first_process:
            aside = set_aside(path)
            log.warning(
                "%s cannot be used: %s; it is now %s, and the run goes on from what was saved before", path, fault, aside.name
            )
    return None


def _foreign(path: Path, marks: dict[str, Any]) -> str | None:
    try:
        state = load_plain(path)
    except GCPError as error:
        return str(error)
    if not isinstance(state, dict) or not {"state_dict", "epoch", "loops", "optimizer_states"} <= state.keys():
        return "it is no checkpoint of a training"
    other = [name for name, value in marks.items() if state.get(name) != value]
    return f"it belongs to another run ({other[0]} {state.get(other[0])} instead of {marks[other[0]]})" if other else None


def _fingerprint(trainer: Trainer) -> dict[str, Any]:
    fingerprint = getattr(trainer.datamodule, "fingerprint", None)  # type: ignore[attr-defined]
    return {} if fingerprint is None else fingerprint()


def first_difference(name: str, was: Any, now: Any) -> tuple[str, Any, Any]:
    """Of two lists the first entries that differ, and their place."""
    if not isinstance(was, list) or not isinstance(now, list):
        return name, was, now
    pairs = itertools.zip_longest(was, now)
    return next((f"{name}[{place}]", one, other) for place, (one, other) in enumerate(pairs) if one != other)
