"""From a published checkpoint to a network and a run directory of ours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from gcp_repro.errors import OptionError
from gcp_repro.metalayers import is_extra_state
from gcp_repro.runs import RunDirectory, register_resolvers, write_atomically, write_json
from gcp_repro.training.build import build, build_network
from gcp_repro.training.layer_configs import store_layer_configs
from gcp_repro.trust import check_targets
from gcp_repro.user_paths import user_path
from gcp_repro.weight_files import WeightFile, read_weights
from gcp_repro.weights.arithmetic import AUTO, choose_arithmetic, layer_overrides
from gcp_repro.weights.layouts import ARCHITECTURES, Layout, find_architecture
from gcp_repro.weights.matching import detect_layout, fit, rename

__all__ = ["ConvertedWeights", "convert", "import_weights"]

DATA_OF_CLASSES = {1000: "imagenet", 200: "birds", 120: "dogs", 196: "cars", 100: "aircraft"}
"""The paper's data sets by their number of classes; for another number a folder of images."""


REDUCED = 256
"""Channels that the code bases reduce to."""


@dataclass(frozen=True)
class ConvertedWeights:
    """A published checkpoint as a network of ours.

    Attributes:
        source: The file.
        architecture: Its name in `ARCHITECTURES`.
        meta_layer: Name of the layer that the weights belong to.
        arithmetic: The code base whose numbers the layer gives, or "exact".
        layout: How the file names its tensors.
        config: Composed from `configs/train.yaml`; with the data that the number of classes stands for.
        num_classes: Of the classifier.
        state: State dict of the `GCPClassifier`.
    """

    source: WeightFile
    architecture: str
    meta_layer: str
    arithmetic: str
    layout: Layout
    config: DictConfig
    num_classes: int
    state: dict[str, Tensor]

    def network(self) -> nn.Module:
        """A `GCPClassifier` with these weights."""
        network = _network(self.config, self.num_classes)
        network.load_state_dict(self.state)
        return network

    def write_run(self, output: Path) -> None:
        """Write a run directory that `gcp-eval run=OUTPUT` scores.

        It holds `config.yaml`, `checkpoints/last.ckpt` and, on where the weights are from, `import.json`; there is no
        `result.json`, because nothing was trained here.

        Raises:
            OptionError: The directory already holds a run.
        """
        run = RunDirectory(output)
        if run.config.exists() or run.last.exists():
            raise OptionError(f"an import needs a directory of its own; {output} already holds a run: choose another --output")
        config = self.config.copy()
        config.paths.run_dir = str(output)
        run.checkpoints.mkdir(parents=True, exist_ok=True)
        torch.save(
            {
                "epoch": max((self.source.epoch or 1) - 1, 0),  # counted from 0
                "global_step": 0,
                "pytorch-lightning_version": version("pytorch-lightning"),
                "state_dict": {f"network.{name}": value for name, value in self.state.items()},
            },
            run.last,
        )
        write_json(output / "import.json", self.provenance())
        write_atomically(run.config, OmegaConf.to_yaml(config, resolve=True))

    def provenance(self) -> dict[str, Any]:
        """Where the weights are from."""
        return {
            "file": self.source.path.name,
            "sha256": self.source.sha256(),
            "architecture": self.architecture,
            "layout": self.layout.name,
            "meta_layer": self.meta_layer,
            "arithmetic": self.arithmetic,
            "num_classes": self.num_classes,
            "epochs": self.source.epoch,
            "best_top1_accuracy": self.source.best_top1_accuracy,
        }


def import_weights(
    path: str | Path,
    architecture: str | None = None,
    meta_layer: str = "isqrt_cov",
    *,
    num_classes: int | None = None,
    arithmetic: str = AUTO,
    overrides: Sequence[str] = (),
) -> ConvertedWeights:
    """Read a checkpoint of DifferentiableSVD, fast-MPN-COV, RiemGCP or DropCov, or of a ResNet of torchvision or timm.

    Args:
        path: The file.
        architecture: A name in `ARCHITECTURES`; None takes the file's own `arch`.
        meta_layer: What the weights were trained with.
        num_classes: Checked if given; None takes the classifier's.
        arithmetic: "DifferentiableSVD", "fast-MPN-COV" and "RiemGCP" compute the layer as that code base does, to the last
            bit, with its dtype, its order of operations and its centring matrix rounded to float32; "auto" finds out which of
            them; "exact" takes the layers of this package as they are.
        overrides: Of `configs/train.yaml`, as in `["meta_layer.top_n=206", "data=birds"]`.

    Raises:
        DataError: The file cannot be read, or does not fit.
        OptionError: The architecture is unknown or contradicts the file, or the layer has no counterpart in the code bases.
    """
    source = read_weights(user_path(path))
    name = _architecture_name(source, architecture)
    return convert(source, name, meta_layer, num_classes=num_classes, arithmetic=arithmetic, overrides=overrides)


def convert(
    source: WeightFile,
    architecture: str,
    meta_layer: str,
    *,
    num_classes: int | None = None,
    arithmetic: str = AUTO,
    overrides: Sequence[str] = (),
) -> ConvertedWeights:
    """Fit the tensors of a file to the network that they are said to be from.

    Raises:
        GCPError: As `import_weights`.
    """
    described = find_architecture(architecture)
    arithmetic = choose_arithmetic(arithmetic, meta_layer, source, architecture)
    layout = detect_layout(source.weights, described)
    renamed = rename(source.weights, layout)
    classes = num_classes or _classes(renamed)
    config = _compose(
        architecture, layer_overrides(meta_layer, arithmetic, _channels(renamed)), layout, renamed, classes, overrides
    )
    with torch.device("meta"):  # names and shapes alone
        network = _network(config, classes)
    expected = {name: tensor for name, tensor in network.state_dict().items() if not is_extra_state(name)}
    where = f"{source.path} and {architecture} with {meta_layer} and {classes} classes (names of layout '{layout.name}') differ"
    hint = "pass the architecture, meta-layer and number of classes that the file was trained with"
    state = fit(source.weights, expected, layout, where=where, hint=f"{hint}; {described.hint}" if described.hint else hint)
    return ConvertedWeights(source, architecture, meta_layer, arithmetic, layout, config, classes, state)


def _architecture_name(source: WeightFile, asked: str | None) -> str:
    """What was asked for, or what the file says; they must agree, for strides leave no trace in shapes."""
    name = asked or source.architecture
    if name is None:
        raise OptionError(
            f"an import needs the architecture; {source.path} does not say it: pass --architecture, one of "
            f"{', '.join(ARCHITECTURES)}"
        )
    find_architecture(name)
    if source.architecture not in (None, name):
        raise OptionError(
            f"--architecture must be the file's; {source.path} says {source.architecture!r}, got {name!r}: leave the option out"
        )
    return name


def _classes(renamed: Mapping[str, Tensor]) -> int:
    """Rows of the classifier's last layer; 1000, the code bases' default, if there is none."""
    classifier = [name for name in renamed if name.startswith("classifier.") and name.endswith(".weight")]
    return _rows(renamed[max(classifier)]) if classifier else 1000


def _rows(weight: Tensor) -> int:
    return weight.shape[0] if weight.ndim else 1


def _channels(renamed: Mapping[str, Tensor]) -> int:
    """How many channels C give the classifier its C (C + 1) / 2 inputs; without a classifier `REDUCED`."""
    weight = renamed.get("classifier.0.weight")
    return REDUCED if weight is None or weight.ndim != 2 else (math.isqrt(8 * weight.shape[1] + 1) - 1) // 2


def _compose(
    architecture: str, layer: Sequence[str], layout: Layout, renamed: Mapping[str, Tensor], classes: int, overrides: Sequence[str]
) -> DictConfig:
    """The configuration of the network and of data to score it on."""
    described = ARCHITECTURES[architecture]
    reduction = renamed.get("reduce.0.weight")
    own = ["~experiment", f"experiment_name=imported_{architecture}", f"model={described.model}", *described.overrides, *layer]
    if reduction is not None:
        own.append(f"model.reduce_dim={_rows(reduction)}")
    elif _channels(renamed) != REDUCED:  # fine-tuned from a network without covariance pooling
        own.append("model.reduce_dim=null")
    if layout.hidden_dims is not None:
        own.append(f"model.hidden_dims={list(layout.hidden_dims)}")
    if not any(override.startswith("data=") for override in overrides):
        own.append(f"data={DATA_OF_CLASSES.get(classes, 'image_folder')}")
    register_resolvers()
    store_layer_configs()
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        config = compose("train", [*own, *overrides])
    check_targets(config, "the command", config.trusted)
    return config


def _network(config: DictConfig, num_classes: int) -> nn.Module:
    return build_network(config.model, SimpleNamespace(in_channels=3, num_classes=num_classes), build(config.meta_layer))
