"""Networks of finished runs, also of runs from before some training options existed."""

from __future__ import annotations

from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import nn

from gcp_repro.runs.directory import RunDirectory
from gcp_repro.training.build import build, build_network
from gcp_repro.weight_files import load_plain

PREFIX = "network."  # of the weights in a checkpoint


def data_of(run: RunDirectory, **changes: Any) -> Any:
    """The data module of a run, ready for evaluation, with other options where named."""
    config = OmegaConf.merge(OmegaConf.load(run.config), {"data": changes})
    datamodule = build(config.data)
    datamodule.setup("validate")
    return datamodule


def network_of(run: RunDirectory, datamodule: Any) -> nn.Module:
    """The network of a run after its last epoch, in evaluation mode."""
    config = OmegaConf.load(run.config)
    assert isinstance(config, DictConfig)
    network = build_network(config.model, datamodule, build(config.meta_layer))
    weights = load_plain(run.last)["state_dict"]
    network.load_state_dict({key.removeprefix(PREFIX): value for key, value in weights.items() if key.startswith(PREFIX)})
    return network.eval()
