"""Values of a configuration: each of the kind that whoever takes it is annotated with, looked at before any work."""

from __future__ import annotations

import functools
import inspect
import operator
import os
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePath
from pydoc import ErrorDuringImport, locate
from typing import Annotated, Any, Literal, TypedDict, Union, get_args, get_origin, get_type_hints

from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.accelerators import AcceleratorRegistry
from pytorch_lightning.strategies import StrategyRegistry

from gcp_repro.linalg.machinery.options import Above, AtLeast, AtMost, Not, OneOf, check_option, options_of
from gcp_repro.training.record.progress import Progress
from gcp_repro.training.schedule.schedule import Schedule, plan_hybrid

__all__ = ["check_kinds"]

Share = Annotated[int, AtLeast(1)] | Annotated[float, Above(0), AtMost(1)] | None
Count = Annotated[int, AtLeast(1)] | None


class Run(TypedDict):
    """What stands at the top of a configuration and is no group."""

    seed: Annotated[int, AtLeast(0), AtMost(2**32 - 1)]
    label_smoothing: float
    classifier_lr_multiplier: Annotated[float, AtLeast(0)]
    lr_for_batch_size: float | None
    gradient_clip_norm: Annotated[float, Above(0)] | None
    on_nonfinite_step: str
    max_skipped_steps: int


class TrainerOptions(TypedDict):
    """The group `trainer`; what else it holds goes to Lightning."""

    accelerator: Annotated[str, OneOf(lambda: ["auto", "gpu", *AcceleratorRegistry.available_accelerators()])]
    devices: Annotated[int, AtLeast(-1), Not(0)] | str | list[int]
    num_nodes: Annotated[int, AtLeast(1)]
    strategy: Annotated[str, OneOf(lambda: ["auto", *StrategyRegistry.available_strategies()])]
    sync_batchnorm: bool
    deterministic: bool | Literal["warn"] | None
    benchmark: bool | None
    max_epochs: Count
    limit_train_batches: Share
    limit_val_batches: float | None
    images_per_device: Count
    accumulate_grad_batches: Count
    check_val_every_n_epoch: int | None
    max_steps: Count
    requeue: bool
    detect_anomaly: bool
    num_threads: Count
    progress_bar: bool | Literal["auto"]


def check_kinds(config: DictConfig) -> None:
    """Refuse a value that its taker cannot do anything with, wherever it stands.

    Takers are the objects that `_target_` names, and those in `_takers` for the rest. A range is looked at where an
    annotation has one; others are the takers' affair, as is what no annotation tells.

    Args:
        config: Of a run. The names under `_target_` have been compared with those that are trusted.

    Raises:
        OptionError: "trainer.max_epochs must be a whole number >= 1, or null; got 'q' for trainer: change it"
    """
    values: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    takers = _takers(values)
    for place, node in _nodes(values):
        owner = place or "the training"
        kinds = takers.get(place, {})
        if "_target_" in node:
            taker = _found(node["_target_"])
            if taker is None:  # whoever makes it says why
                continue
            kinds, owner = _of_target(taker), str(node["_target_"]).rpartition(".")[-1]
        for name in node.keys() & kinds.keys():
            key = f"{place}.{name}" if place else name
            if not _is_missing_or_made(node[name]):
                check_option(owner, key, node[name], _in_yaml(kinds[name]), "change it")


def _takers(values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Annotations of the nodes without `_target_`, by their place."""
    hybrid = values["protocol"]["name"] == "hybrid"
    return {
        "": get_type_hints(Run, include_extras=True),
        "trainer": get_type_hints(TrainerOptions, include_extras=True),
        "schedule": _annotations(Schedule),
        "progress": _annotations(Progress),
        "protocol": _annotations(plan_hybrid) if hybrid else {},
    }


def _nodes(value: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """All mappings, with their places."""
    if isinstance(value, dict):
        yield place, value
        for name, child in value.items():
            yield from _nodes(child, f"{place}.{name}" if place else str(name))
    elif isinstance(value, list):
        for number, child in enumerate(value):
            yield from _nodes(child, f"{place}[{number}]")


def _found(target: str) -> Any:
    try:
        return locate(target)
    except ErrorDuringImport:
        return None


def _of_target(taker: Any) -> dict[str, Any]:
    """Annotations of a function, or of a class and of those that it hands its further options to."""
    classes = reversed(inspect.getmro(taker)) if inspect.isclass(taker) else [taker]
    return {name: kind for part in classes for name, kind in _annotations(part).items()}


def _annotations(taker: Any) -> dict[str, Any]:
    if inspect.isclass(taker) and "__init__" not in vars(taker):
        return {}
    try:
        options = options_of(taker)
    except ValueError:  # written in C, without a signature
        return {}
    told = {name: o for name, o in options.items() if o.annotation is not o.empty and not isinstance(o.annotation, str)}
    return {name: Union[o.annotation, None] if o.default is None else o.annotation for name, o in told.items()}  # noqa: UP007


def _is_missing_or_made(value: Any) -> bool:
    """Whether a value is still to be given, or describes an object, which has a check of its own."""
    return value == "???" or (isinstance(value, dict) and "_target_" in value)


def _in_yaml(annotation: Any) -> Any:
    """The annotation with what a configuration can hold alone: a list for each kind of sequence, a text for a path.

    Objects, which a configuration describes by `_target_`, are no values of it; where nothing remains, anything goes.
    """
    kinds = _members(annotation)
    return functools.reduce(operator.or_, kinds) if kinds else Any


def _members(annotation: Any) -> list[Any]:
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        return [kind for member in get_args(annotation) for kind in _members(member)]
    if origin is Annotated or origin is Literal or annotation in (int, float, bool, str, type(None), Any, object):
        return [Any if annotation is object else annotation]
    kind = origin or annotation
    if not inspect.isclass(kind):
        return [Any]
    if issubclass(kind, Mapping):
        return [dict]
    if issubclass(kind, PurePath) or kind is os.PathLike:
        return [str]
    if origin is not None and issubclass(kind, Iterable):
        entries = [kind for member in get_args(annotation) if member is not ... for kind in _members(member)]
        return [list[functools.reduce(operator.or_, entries) if entries else Any]]  # type: ignore[misc]
    return [list[Any]] if issubclass(kind, list | tuple | set | Sequence) else []
