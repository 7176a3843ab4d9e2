"""From a configuration to the objects of a run; nothing here trains."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import LightningDataModule
from torch import nn

from gcp_repro.errors import GCPError, OptionError, ProtocolError
from gcp_repro.metalayers import META_LAYERS, MetaLayer
from gcp_repro.training.module.compilation import compile_options
from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.module.nonfinite import FiniteSteps
from gcp_repro.training.protocol.hybrid import HybridSwap
from gcp_repro.training.schedule.schedule import HybridPlan, Schedule, plan_hybrid

__all__ = ["Experiment", "build", "build_experiment", "build_network", "check_optimizer", "label_of", "learning_rate", "plan"]


@dataclass(frozen=True)
class Experiment:
    """What a run trains: the module on the data, by the protocol.

    Attributes:
        module: With the configured meta-layer in place.
        datamodule: The data.
        schedule: Epochs and decays that the run really follows.
        swap: Callback of the hybrid protocol; None for standalone.
    """

    module: GCPModule
    datamodule: LightningDataModule
    schedule: Schedule
    swap: HybridSwap | None


def build(node: DictConfig, **options: Any) -> Any:
    """Make the object that a configuration node describes, with plain containers as arguments.

    An error of this package in the object's constructor is raised as it is.
    """
    try:
        return instantiate(node, _convert_="all", **options)
    except InstantiationException as error:
        if isinstance(error.__cause__, GCPError):
            raise error.__cause__ from None
        raise


def build_experiment(config: DictConfig, nonfinite: Path | None = None) -> Experiment:
    """Everything that `config` describes, apart from the Trainer.

    The protocol is checked first, before data are read or weights are made.

    Args:
        config: Of the run.
        nonfinite: Folder for batches that are not finite; None keeps none.

    Raises:
        ProtocolError: The protocol does not fit the schedule or the layer.
        GCPError: Whatever the parts have to say about their options.
    """
    hybrid = plan(config)
    schedule = hybrid.schedule if hybrid else _schedule(config)
    layer = build(config.meta_layer)
    swap = _hybrid_swap(config, layer, hybrid.swap_epoch) if hybrid else None
    datamodule = build(config.data)
    module = GCPModule(
        build_network(config.model, datamodule, layer),
        build(config.optimizer, lr=learning_rate(config)),
        schedule,
        classifier_lr_multiplier=config.classifier_lr_multiplier,
        label_smoothing=config.get("label_smoothing", 0.0),  # runs from before it existed can still be scored
        meta_layer_name=config.meta_layer.name,
        finite_steps=FiniteSteps(
            config.on_nonfinite_step, config.max_skipped_steps, nonfinite, OmegaConf.to_yaml(config, resolve=True)
        ),
        compile_options=compile_options(config.get("compile", False)),
    )
    return Experiment(module, datamodule, schedule, swap)


def check_optimizer(module: GCPModule, node: DictConfig) -> None:
    """Make the optimiser once for nothing: its ranges are its own affair, and training makes it late.

    Raises:
        OptionError: It refuses its options.
    """
    try:
        with suppress(RuntimeError):  # of options for devices that the parameters are not on yet
            module.configure_optimizers()
    except (TypeError, ValueError) as error:
        given = ", ".join(f"optimizer.{name}={node[name]}" for name in map(str, node) if not name.startswith("_"))
        raise OptionError(f"{node['_target_']} needs options in its ranges; got {given}: {error}") from error


def learning_rate(config: DictConfig) -> float:
    """The rate that training starts from: `optimizer.lr`, which is meant for `lr_for_batch_size` images a step if that is set.

    Raises:
        OptionError: The number is below 1.
    """
    rate, meant_for = float(config.optimizer.lr), config.get("lr_for_batch_size")
    if meant_for is None:
        return rate
    if meant_for < 1:
        raise OptionError(f"lr_for_batch_size needs at least 1 image; got {meant_for}: change it, or set it to null")
    return rate * float(config.data.batch_size) / float(meant_for)


def build_network(model: DictConfig, datamodule: Any, meta_layer: nn.Module) -> nn.Module:
    """The network for the data's classes and channels, around a meta-layer."""
    make = build(model, backbone={"in_channels": datamodule.in_channels}, _partial_=True)
    network: nn.Module = make(meta_layer=meta_layer, num_classes=datamodule.num_classes)
    if getattr(datamodule, "channels_last", False):
        network.to(memory_format=torch.channels_last)  # else a GPU turns the weights of every convolution round in every pass
    return network


def plan(config: DictConfig) -> HybridPlan | None:
    """Schedule and swap epoch of a hybrid run; None for standalone.

    Raises:
        ProtocolError: The protocol does not fit the schedule.
        OptionError: An unknown protocol, or values out of range.
    """
    schedule = _schedule(config)
    protocol = config.protocol
    if protocol.name == "standalone":
        return None
    if protocol.name != "hybrid":
        raise OptionError(f"a protocol needs the name 'standalone' or 'hybrid'; got {protocol.name!r}: change protocol.name")
    return plan_hybrid(schedule, protocol.warmup_epochs, protocol.placement)


def label_of(thing: object) -> str:
    """Name of a data module or backbone in results: its `name`, or its class name in snake case."""
    name = getattr(thing, "name", None)
    if isinstance(name, str):
        return name
    stem = re.sub("(DataModule|Backbone)$", "", type(thing).__name__)
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", stem).lower()


def _schedule(config: DictConfig) -> Schedule:
    return Schedule(**OmegaConf.to_container(config.schedule, resolve=True))  # type: ignore[arg-type]


def _all_options(layer: DictConfig) -> dict[str, Any]:
    """Options of a layer's configuration, with the registry's defaults for those that it leaves out."""
    options: dict[str, Any] = OmegaConf.to_container(layer, resolve=True)  # type: ignore[assignment]
    entry = META_LAYERS.get(layer.name)
    return {**entry.defaults, **options} if entry else options


def _hybrid_swap(config: DictConfig, final: MetaLayer, swap_epoch: int) -> HybridSwap:
    """The callback that starts with `protocol.initial` and goes over to `final`."""
    same = _all_options(config.protocol.initial) == _all_options(config.meta_layer)
    initial: MetaLayer = final if same else build(config.protocol.initial)
    names = config.protocol.initial.name, config.meta_layer.name
    if not final.can_follow(initial):
        raise ProtocolError(
            f"the hybrid protocol needs a layer that can go on from {names[0]!r}, a function of the same covariance; got "
            f"{names[1]!r}: set protocol=standalone for it"
        )
    return HybridSwap(initial, final, initial_name=names[0], final_name=names[1], swap_epoch=swap_epoch)
