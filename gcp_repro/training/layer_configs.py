"""Configurations of layers that other packages registered: `gcp-train meta_layer=NAME` takes them as it takes the files' ones."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from gcp_repro.registry import PLUGINS

__all__ = ["store_layer_configs"]


def store_layer_configs() -> None:
    """Offer every registered layer that has no file to Hydra; call it before a configuration is composed."""
    if "gcp_repro.metalayers" not in sys.modules and not entry_points(group=PLUGINS):
        return  # there can be none, and torch need not be imported
    from gcp_repro.metalayers import META_LAYERS

    for name, entry in META_LAYERS.items():
        if name not in META_LAYERS.built_in:
            node = {"_target_": "gcp_repro.metalayers.build_meta_layer", "name": name, **entry.defaults}
            ConfigStore.instance().store(group="meta_layer", name=name, node=OmegaConf.create(node), provider="gcp_repro")
