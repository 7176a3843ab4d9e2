"""The fields of `result.json`: what each means, of what kind it is, and which status needs it.

One list, from which files are checked, the columns of the results store are made, and `docs/architecture.md` is generated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["FIELDS", "PROTOCOLS", "SCHEMA", "STATUSES", "Field", "names_of", "objection"]

SCHEMA = 2
STATUSES = ("finished", "diverged", "imported")
PROTOCOLS = ("standalone", "hybrid")
TRAINED: tuple[str, ...] = ("finished", "diverged")

Kind = Literal["text", "number", "count", "texts", "mapping"]


@dataclass(frozen=True)
class Field:
    """One entry of a result.

    Attributes:
        name: Its key.
        kind: "text", "number", "count" (a whole number from 0 on), "texts" (a list) or "mapping" (of single values and lists).
        meaning: In words.
        needed: Statuses that cannot do without a value; elsewhere it may be null or absent.
        cell: Whether runs that differ in it are different cells of a table.
    """

    name: str
    kind: Kind
    meaning: str
    needed: tuple[str, ...] = ()
    cell: bool = False


FIELDS = (
    Field("status", "text", "finished, diverged or imported", STATUSES),
    Field("message", "text", "of a diverged run: why, in words"),
    Field("diverged_epoch", "count", "where something stopped being finite"),
    Field("diverged_batch", "count", "the batch of that epoch"),
    Field("diverged_cause", "text", "what it was: loss, gradient, decomposition, validation loss, ..."),
    Field("experiment", "text", "as in `experiment=...`", STATUSES, cell=True),
    Field("data", "text", "name of the data"),
    Field("backbone", "text", "name of the network", cell=True),
    Field("meta_layer", "text", "registered name", STATUSES, cell=True),
    Field("meta_layer_options", "text", "those that differ from the defaults, as `top_n=14`", cell=True),
    Field("route", "text", "as configured", cell=True),
    Field("dtype", "text", "as configured", cell=True),
    Field("solver", "text", "what the layer really used, where it had a choice"),
    Field("protocol", "text", "standalone or hybrid", TRAINED, cell=True),
    Field("warmup_epochs", "count", "of the hybrid protocol; null when standalone", cell=True),
    Field("protocol_options", "text", "of the hybrid protocol, those that differ from the defaults", cell=True),
    Field("swap_epoch", "count", "first epoch that trains with the configured layer; null when standalone"),
    Field("seed", "count", "of initialisation, order and augmentation", TRAINED),
    Field("setting", "mapping", "all else that changes numbers: what makes runs comparable, by dotted name", TRAINED),
    Field("learning_rate", "number", "that training starts from, after `lr_for_batch_size`"),
    Field("planned_epochs", "count", "length of the run as configured", TRAINED),
    Field("epochs", "count", "complete epochs"),
    Field("final_top1_error", "number", "percent, after the last epoch", ("finished", "imported")),
    Field("final_top5_error", "number", "percent"),
    Field("final_loss", "number", "mean cross-entropy of the validation split"),
    Field("best_top1_error", "number", "percent, the smallest of all epochs"),
    Field("best_top5_error", "number", "percent, in the epoch with the best top-1 error"),
    Field("best_epoch", "count", "that epoch"),
    Field("skipped_steps", "count", "steps left out because something was not finite (`on_nonfinite_step=skip`)"),
    Field("wall_time_seconds", "number", "in training and evaluation, over all sessions"),
    Field("samples_per_second", "number", "training images, over all processes"),
    Field("device", "text", "name of the GPU, or the kind of device"),
    Field("world_size", "count", "processes"),
    Field("batch_size", "count", "images a step, over all processes"),
    Field("local_batch_size", "count", "images that a process handles at a time"),
    Field("precision", "text", "of the network, as configured"),
    Field("num_parameters", "count", "of the network"),
    Field("num_classes", "count", "of the data"),
    Field("class_names", "texts", "where the data have names"),
    Field("train_images", "count", "of data in files: images in use"),
    Field("val_images", "count", "the same"),
    Field("unreadable_train_images", "count", "files that were left out"),
    Field("unreadable_val_images", "count", "files that counted as errors"),
    Field("imported_file", "text", "of imported weights: the file", ("imported",)),
    Field("imported_sha256", "text", "its hash"),
    Field("imported_architecture", "text", "its architecture", ("imported",)),
    Field("imported_meta_layer", "text", "the layer it was trained with", ("imported",)),
    Field("imported_best_top1_accuracy", "number", "percent, its own record"),
    Field("versions", "mapping", "python, torch, gcp_repro, ..."),
    Field("git_revision", "text", "commit of the code, with -dirty where files differ or are not in it; null when installed"),
    Field("config_hash", "text", "of the run's identity, as in the directory's name", TRAINED),
)  # fmt: skip


def names_of(*kinds: Kind) -> tuple[str, ...]:
    """Names of the fields of some kinds, in order."""
    return tuple(field.name for field in FIELDS if field.kind in kinds)


def objection(content: Any) -> str | None:
    """Why the content of a result file is not a result of ours; `None` if it is.

    Example:
        >>> objection({"schema": 2, "status": "running"})
        "needs status finished, diverged or imported; got 'running'"
    """
    if not isinstance(content, Mapping):
        return f"needs an object; got {type(content).__name__}"
    return next(_objections(content), None)


def _objections(content: Mapping[str, Any]) -> Iterator[str]:
    if content.get("schema") != SCHEMA:
        yield f"needs schema {SCHEMA}; got {content.get('schema')!r}: written by another program or version"
    status = content.get("status")
    if status not in STATUSES:
        yield f"needs status finished, diverged or imported; got {status!r}"
        return
    missing = [field.name for field in FIELDS if status in field.needed and content.get(field.name) is None]
    if missing:
        yield f"lacks {', '.join(missing)}"
    for field in FIELDS:
        value = content.get(field.name)
        if value is not None and not CHECKS[field.kind](value):
            yield f"needs {NOUNS[field.kind]} in {field.name}; got {value!r}"
    known = {"schema", *(field.name for field in FIELDS)}
    for name, value in content.items():
        if name not in known and isinstance(value, Mapping | list):
            yield f"needs single values; got {value!r} in {name}"
    if status in TRAINED and content.get("protocol") not in PROTOCOLS:
        yield f"needs protocol {' or '.join(PROTOCOLS)}; got {content.get('protocol')!r}"


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_flat(value: Any) -> bool:
    return isinstance(value, Mapping) and not any(isinstance(entry, Mapping) for entry in value.values())


CHECKS = {
    "text": lambda value: isinstance(value, str),
    "number": _is_number,
    "count": _is_count,
    "texts": lambda value: isinstance(value, list) and all(isinstance(entry, str) for entry in value),
    "mapping": _is_flat,
}
NOUNS = {
    "text": "a text", "number": "a finite number", "count": "a whole number from 0 on", "texts": "a list of texts",
    "mapping": "an object of single values",
}  # fmt: skip
