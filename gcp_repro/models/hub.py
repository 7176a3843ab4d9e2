"""Saving a network to a folder or to the Hugging Face hub, and loading it back."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import PyTorchModelHubMixin, constants, hf_hub_download
from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.models.backbones import build_backbone

__all__ = ["HubModel", "recipe_of"]

PARTS = (
    *("num_classes", "hidden_dims", "reduce_dim", "reduction", "reduce_groups"),
    *("head", "class_token", "drop_rate"),
)
"""Arguments of `GCPClassifier` that are plain values, under the names of its attributes."""


READING = ("pretrained", "checkpoint", "weights", "cache_dir")
"""How options of backbones begin that read files or download them."""


class HubModel(
    PyTorchModelHubMixin,
    library_name="gcp_repro",
    paper_url="https://arxiv.org/abs/2105.02498",
    license="mit",
    pipeline_tag="image-classification",
    tags=["global-covariance-pooling"],
):
    """`save_pretrained`, `from_pretrained` and `push_to_hub` of `GCPClassifier`.

    A folder holds `config.json`, from which the network is made anew, and `model.safetensors`. The configuration says what the
    network is when it is saved, after a new classifier or an exchanged layer too. `from_pretrained` takes `backbone=` or
    `meta_layer=` for parts that have no recipe, as a module of your own, and `map_location` and `strict` (default true).
    """

    backbone: nn.Module
    meta_layer: nn.Module

    def _save_pretrained(self, save_directory: Path) -> None:
        options: Any = getattr(self.meta_layer, "options", None)
        config = {
            "gcp_repro": version("gcp_repro"),
            "backbone": recipe_of(self.backbone),
            "meta_layer": {"name": self.meta_layer.name, **options} if _is_plain(options) else None,
            **{name: getattr(self, name) for name in PARTS},
            "reduce_average_pooling": True,  # a reduction that is there stays, whatever the layer is by now
        }
        missing = [name for name in ("backbone", "meta_layer") if config[name] is None]
        if missing:
            warnings.warn(
                f"{save_directory} says how the network is made but for its {' and '.join(missing)}, which no name and options "
                f"give: load it with from_pretrained(..., {', '.join(f'{name}=...' for name in missing)})",
                stacklevel=3,
            )
        super()._save_pretrained(save_directory)
        (save_directory / constants.CONFIG_NAME).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def _from_pretrained(
        cls,
        *,
        model_id: str,
        revision: str | None,
        cache_dir: str | Path | None,
        force_download: bool,
        local_files_only: bool,
        token: str | bool | None,
        map_location: str = "cpu",
        strict: bool = True,
        **arguments: Any,
    ) -> Any:
        missing = [name for name in ("backbone", "meta_layer", "num_classes") if arguments.get(name) is None]
        if missing:
            raise OptionError(
                f"loading needs {', '.join(missing)}; the configuration of {model_id} does not say: pass "
                f"{', '.join(f'{name}=...' for name in missing)} to from_pretrained"
            )
        _check_recipe(arguments["backbone"], model_id)
        if isinstance(arguments["meta_layer"], Mapping):
            arguments["meta_layer"] = build_meta_layer(**arguments["meta_layer"])
        model = cls(**arguments)
        file = str(Path(model_id) / constants.SAFETENSORS_SINGLE_FILE)
        if not Path(model_id).is_dir():
            file = hf_hub_download(
                model_id, constants.SAFETENSORS_SINGLE_FILE, revision=revision, cache_dir=cache_dir,
                force_download=force_download, local_files_only=local_files_only, token=token,
            )  # fmt: skip
        return cls._load_as_safetensor(model, file, map_location, strict)


def _check_recipe(backbone: object, model_id: str) -> None:
    """Refuse a configuration of someone else's that would read or download further files."""
    options = list(backbone) if isinstance(backbone, Mapping) else []
    reading = [option for option in options if str(option).startswith(READING)]
    if reading:
        raise OptionError(
            f"a saved network needs its own weights alone; the configuration of {model_id} has backbone.{reading[0]}, which "
            "reads others: take it out of config.json if you trust it"
        )


def recipe_of(backbone: nn.Module) -> dict[str, Any] | None:
    """What `build_backbone` makes the same network from, weights apart; None if none of the backbone's `recipes` does.

    "The same" are modules of the same kinds with the same options as their `repr` shows them, and tensors of the same names and
    shapes.
    """
    for recipe in getattr(backbone, "recipes", ()):
        if _is_plain(recipe) and _is_same(_rebuilt(recipe), backbone):
            return dict(recipe)
    return None


def _rebuilt(recipe: dict[str, Any]) -> nn.Module | None:
    """A backbone, on the meta device if it can be made there; None if it cannot be made."""
    for device in ("meta", "cpu"):
        with contextlib.suppress(Exception), torch.random.fork_rng([]), torch.device(device):  # a candidate may fail in any way
            return build_backbone(recipe)
    return None


def _is_same(rebuilt: nn.Module | None, backbone: nn.Module) -> bool:
    return rebuilt is not None and repr(rebuilt) == repr(backbone) and _shapes(rebuilt) == _shapes(backbone)


def _shapes(module: nn.Module) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _is_plain(value: object) -> bool:
    """Whether a file of JSON can hold it."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return value is not None
