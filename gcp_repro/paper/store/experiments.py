"""The settings that this version configures for its experiments, which measured ones are held against."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import MissingConfigException

from gcp_repro.runs import register_resolvers, setting_of

__all__ = ["configured_setting", "differences"]

DEPENDS_ON_PROCESSES = "batch_norm_images"


@functools.cache
def configured_setting(experiment: str) -> Mapping[str, Any] | None:
    """What `gcp-train experiment=NAME` trains, by dotted name; None where there is no such experiment.

    Example:
        >>> configured_setting("digits")["data.train_size"], configured_setting("nothing")
        (300, None)
    """
    register_resolvers()
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_module("gcp_repro.configs", version_base="1.3"):
            return setting_of(compose("train", [f"experiment={experiment}"]))
    except MissingConfigException:
        return None
    finally:
        GlobalHydra.instance().hydra = before


def differences(setting: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What `setting` has where `other` has something else, by dotted name; None for what only the other has.

    Example:
        >>> differences({"optimizer.lr": 0.1, "schedule.epochs": 15}, {"optimizer.lr": 0.2, "schedule.epochs": 15})
        {'optimizer.lr': 0.1}
    """
    return {name: setting.get(name) for name in {**other, **setting} if setting.get(name, ...) != other.get(name, ...)}
