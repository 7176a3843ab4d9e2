"""What of a configuration makes two runs the same run, and what makes them comparable.

* **Identity**: all that changes a run's numbers, and nothing else. Its hash is part of the run directory's name, so the same
  command finds its run again, alone or in a sweep, wherever data and results are kept and on whatever devices it trains.
* **Setting**: identity without seed, layer and protocol. Runs of one setting share a table; those that also agree in layer
  and protocol are repetitions over seeds.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from gcp_repro.errors import OptionError
from gcp_repro.runs.directory import RunDirectory

__all__ = ["config_hash", "initial_stage_hash", "register_resolvers", "run_directory", "run_name", "setting_of"]

PLACES_AND_MEANS = (
    "hydra", "paths", "logger", "progress", "replay", "trusted", "compile", "by_layer",
    "data.root", "data.index_dir", "data.cache_dir", "data.download",
    "data.num_workers", "data.pin_memory", "data.eval_batch_size", "data.channels_last",
    "protocol.share_initial_stage",
    "trainer.accelerator", "trainer.devices", "trainer.num_nodes", "trainer.strategy", "trainer.sync_batchnorm",
    "trainer.accumulate_grad_batches", "trainer.images_per_device",
    "trainer.num_threads", "trainer.deterministic", "trainer.benchmark", "trainer.detect_anomaly", "trainer.profiler",
    "trainer.progress_bar", "trainer.log_every_n_steps", "trainer.max_time", "trainer.max_steps", "trainer.requeue",
)  # fmt: skip
"""Entries of the configuration that decide where, how fast and how visibly a run is made, but not its numbers."""

ADDED = {"lr_for_batch_size": None}
"""Entries that there have not always been, with the value that changes nothing: with it they are left out, so that runs keep
their names."""

OBSERVERS = (
    "gcp_repro.training.diagnostics.",
    "gcp_repro.training.record.sample_images",
    "pytorch_lightning.callbacks.LearningRateMonitor",
    "pytorch_lightning.callbacks.DeviceStatsMonitor",
)
"""Beginnings of the `_target_` of callbacks that look on and leave the training as it is, bit for bit."""

PLACE = re.compile(r"\$\{(oc\.select:|oc\.env:)?\s*(paths\.|[A-Z_]+_DIR\b)")
"""In a value as it is written: it follows from where things are kept."""
VARIED = re.compile(r"\$\{(oc\.select:)?\s*(seed|meta_layer|protocol)\b")
"""In a value as it is written: it follows from seed, layer or protocol."""

Leaves = dict[str, Any]
"""Values by dotted name."""


def config_hash(config: DictConfig) -> str:
    """Eight hexadecimal digits over the identity of a run."""
    return _digest(_identity(config))[:8]


def initial_stage_hash(config: DictConfig) -> str:
    """Sixteen hexadecimal digits over all that a hybrid run's part before the swap depends on: its identity but the layer."""
    identity = {name: value for name, value in _identity(config).items() if not name.startswith("meta_layer.")}
    return _digest(identity)[:16]


def setting_of(config: DictConfig) -> Leaves:
    """What a run has in common with those that it may be compared with, by dotted name.

    Its identity without the experiment's name, seed, meta-layer and protocol, and without what the configuration derives from
    these by interpolation, as `data.seed: ${seed}`.
    """
    written = dict(_leaves(_as_written(config)))
    own = ("experiment_name", "seed", "meta_layer.", "protocol.")
    return {
        name: value
        for name, value in _identity(config).items()
        if not name.startswith(own) and not VARIED.search(str(written[name]))
    }


def run_name(config: DictConfig) -> str:
    """The last part of a run directory, as in `svd_pade-float64-dense-hybrid-seed0-1f2e3d4c`."""
    layer = config.meta_layer
    described = [layer.name, layer.get("dtype"), layer.get("route"), config.protocol.name, f"seed{config.seed}"]
    return "-".join([str(part) for part in described if part is not None] + [config_hash(config)])


def register_resolvers() -> None:
    """Make `${run_name:}` and `${folder_name:PATH}` known to OmegaConf; may be called any number of times."""
    OmegaConf.register_new_resolver("run_name", lambda *, _root_: run_name(_root_), replace=True)
    OmegaConf.register_new_resolver("folder_name", lambda path: Path(os.path.abspath(str(path))).name, replace=True)  # noqa: PTH100  `.` has a name as well


def run_directory(config: DictConfig) -> RunDirectory:
    """Where the run of a configuration lives.

    Raises:
        OptionError: "experiment_name needs letters, digits, '_', '-' and '.'; got '..': ..."
    """
    name = str(config.experiment_name)
    if not re.fullmatch(r"(?!\.)[\w.\-]+", name):
        raise OptionError(
            f"experiment_name needs letters, digits, '_', '-' and '.', with no '.' in front; got {name!r}: it names a folder in "
            "paths.runs_dir"
        )
    return RunDirectory(config.paths.run_dir)


def _identity(config: DictConfig) -> Leaves:
    """Everything but places, means and observers, interpolations as the values that they stand for."""
    content = _as_written(config)
    for key in PLACES_AND_MEANS:
        _remove(content, key.split("."))
    callbacks = content.pop("callbacks", None) or {}
    content["callbacks"] = {name: node for name, node in callbacks.items() if not _observes(node)}
    leaves = {name: _resolved(config, name, value) for name, value in _leaves(content) if not PLACE.search(str(value))}
    return {name: value for name, value in leaves.items() if name not in ADDED or value != ADDED[name]}


def _observes(callback: Any) -> bool:
    target = callback.get("_target_", "") if isinstance(callback, dict) else ""
    return str(target).startswith(OBSERVERS)


def _resolved(config: DictConfig, name: str, written: Any) -> Any:
    if "${" not in str(written):
        return written
    value = OmegaConf.select(config, name)
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def _as_written(config: DictConfig) -> dict[str, Any]:
    content: dict[str, Any] = OmegaConf.to_container(config, resolve=False)  # type: ignore[assignment]
    return content


def _leaves(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Values by dotted name; a list is one value unless an entry of it holds names of its own."""
    for key, value in content.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{name}.")
        elif isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
            for number, entry in enumerate(value):
                yield from _leaves(entry, f"{name}[{number}].") if isinstance(entry, dict) else [(f"{name}[{number}]", entry)]
        else:
            yield name, value


def _remove(content: dict[str, Any], path: list[str]) -> None:
    *parents, last = path
    for key in parents:
        content = content.get(key) or {}
    content.pop(last, None)


def _digest(leaves: Leaves) -> str:
    return hashlib.sha256(json.dumps(leaves, sort_keys=True, default=str).encode()).hexdigest()
