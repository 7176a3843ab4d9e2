"""Where a run lives: a readable name and a hash, both functions of the configuration.

The same command finds the same directory again, whether typed alone or as a job of a sweep; that is what makes runs
resumable and sweeps repeatable.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from omegaconf import DictConfig, OmegaConf

__all__ = ["NOT_IN_HASH", "config_hash", "register_resolvers", "run_name", "without_irrelevant"]

# What decides where, how fast and how visibly a run is made, but not its numbers.
NOT_IN_HASH = (
    "hydra",
    "paths",
    "logger",
    "data.num_workers",
    "data.pin_memory",
    "protocol.share_initial_stage",
    "trainer.accelerator",
    "trainer.num_threads",
    "trainer.progress_bar",
)


def config_hash(config: DictConfig) -> str:
    """Eight hexadecimal digits over everything in `config` but `NOT_IN_HASH`.

    Interpolations enter as they are written, so that neither the environment nor the place of a run changes its hash.
    """
    content = without_irrelevant(OmegaConf.to_container(config, resolve=False))
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def run_name(config: DictConfig) -> str:
    """The last part of a run directory, as in `svd_pade-float64-dense-hybrid-seed0-1f2e3d4c`."""
    layer = config.meta_layer
    described = [layer.name, layer.get("dtype"), layer.get("route"), config.protocol.name, f"seed{config.seed}"]
    return "-".join([str(part) for part in described if part is not None] + [config_hash(config)])


def register_resolvers() -> None:
    """Make `${run_name:}` known to OmegaConf; may be called any number of times."""
    OmegaConf.register_new_resolver("run_name", _run_name_of_root, replace=True)


def _run_name_of_root(*, _root_: DictConfig) -> str:
    return run_name(_root_)


def without_irrelevant(content: Any) -> Any:
    """A configuration, as plain containers, without what is in `NOT_IN_HASH`; changed in place."""
    for key in NOT_IN_HASH:
        _remove(content, key.split("."))
    return content


def _remove(content: dict[str, Any], path: list[str]) -> None:
    *parents, last = path
    for key in parents:
        content = content.get(key) or {}
    content.pop(last, None)
