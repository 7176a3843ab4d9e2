"""Backbones out of timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from gcp_repro.errors import DataError, MissingPathError, OptionError, UnknownNameError, nearest_names
from gcp_repro.models.cutting import CutNetwork, count_prefix_tokens
from gcp_repro.user_paths import user_path
from gcp_repro.weight_files import read_weights

__all__ = ["TimmBackbone"]

FILES = ("checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")
"""Options of timm that say where weights come from; it unpickles what it finds there, and older releases whatever is in it."""


class TimmBackbone(CutNetwork):
    """A timm model up to its features (`forward_features`), without its pooling and classifier.

    Args:
        name: A name in `timm.list_models()`.
        in_channels: Channels of the images: 3 for colour, 1 for grey.
        pretrained: Download timm's weights for that name. The paper trains from random initialisation.
        checkpoint: File with a state dict of the whole timm model (its classifier is left out), of torch.save or safetensors,
            or None.
        last_stride: Stride of a ResNet's last stage: 2 as usual (7x7 at 224), or 1 as in the ResNets that the authors
            of iSQRT-COV published (14x14 at 224). Weights fit either.
        zero_init_last: Whether the last norm of every residual branch starts at zero; None is timm's default, and models without
            this option ignore it.
        **options: For `timm.create_model`, but for those with which timm would read files itself.

    Raises:
        UnknownNameError: timm has no such model.
        OptionError: `last_stride` is not 1 or 2, or is 1 for a model that is no ResNet; an option names a file for timm.
        DataError: The checkpoint is missing, damaged or would run code, or its weights do not fit.
        ShapeError: The model has no positions left at its end, or several tensors.

    Example:
        >>> import torch
        >>> backbone = TimmBackbone("resnet18")
        >>> backbone(torch.zeros(1, 3, 64, 64)).shape, backbone.num_features, backbone.layout
        (torch.Size([1, 512, 2, 2]), 512, 'nchw')
    """

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        last_stride: int = 2,
        zero_init_last: bool | None = None,
        **options: Any,
    ) -> None:
        for option in FILES:
            if option in options:
                raise OptionError(
                    f"a backbone of timm needs options that name no files; got {option}={options[option]!r}, whose file might "
                    "run code when timm reads it: use checkpoint=FILE"
                )
        if not timm.is_model(name):
            raise UnknownNameError("timm model", name, nearest_names(name, timm.list_models(), limit=8))
        network = _create(name, zero_init_last, pretrained=pretrained, in_chans=in_channels, num_classes=0, **options)
        if last_stride != 2:
            _set_last_stride(network, name, last_stride)
        if checkpoint is not None:
            _load_weights(network, user_path(checkpoint))
        arguments = {"in_channels": in_channels, "last_stride": last_stride, **options}
        super().__init__(network, recipes=[{"library": "timm", "name": name, **arguments}], **_facts(network, name, in_channels))

    @classmethod
    def from_network(cls, network: nn.Module, image_size: int | None = None) -> TimmBackbone:
        """Cut a model that timm made; it is taken over, see `CutNetwork`.

        Args:
            network: The model.
            image_size: Side of images that it takes; None reads it from the model.
        """
        backbone = cls.__new__(cls)
        name: str = network.default_cfg["architecture"]  # type: ignore[index, union-attr, assignment]
        facts = _facts(network, name, _in_channels(network))
        in_channels, *sides = facts["input_size"]
        recipe = {"library": "timm", "name": name, "in_channels": in_channels}
        recipes = [recipe, {**recipe, "img_size": sides}]
        size = facts["input_size"] if image_size is None else (in_channels, image_size, image_size)
        CutNetwork.__init__(backbone, network, recipes=recipes, **{**facts, "input_size": size})
        return backbone

    def features(self, images: Tensor) -> Any:
        return self.network.forward_features(images)  # type: ignore[operator]

    def count_tokens(self) -> tuple[int, int]:
        prefix = getattr(self.network, "num_prefix_tokens", None)
        if prefix is None:
            return count_prefix_tokens(self.network)
        return prefix, prefix - getattr(self.network, "num_reg_tokens", 0)

    def declared_layout(self) -> str | None:
        declared = getattr(self.network, "output_fmt", None)
        return {"NCHW": "nchw", "NHWC": "nhwc", "NLC": "tokens", "NCL": "nchw"}.get(str(getattr(declared, "value", declared)))


def _create(name: str, zero_init_last: bool | None, **options: Any) -> nn.Module:
    """`timm.create_model`, with `zero_init_last` for models that have it."""
    if zero_init_last is None:
        return timm.create_model(name, **options)  # type: ignore[no-any-return]
    try:
        return timm.create_model(name, zero_init_last=zero_init_last, **options)  # type: ignore[no-any-return]
    except TypeError as error:
        if "zero_init_last" not in str(error):
            raise
        return timm.create_model(name, **options)  # type: ignore[no-any-return]


def _facts(network: nn.Module, name: str, in_channels: int) -> dict[str, Any]:
    """What timm's models say of themselves."""
    sizes = (getattr(module, "img_size", None) for module in (network, *network.children()))
    default = network.default_cfg["input_size"][1:]  # type: ignore[index, union-attr]
    height, width = next((size for size in sizes if isinstance(size, tuple)), default)
    return {"name": name, "num_features": network.num_features, "input_size": (in_channels, height, width)}


def _in_channels(network: nn.Module) -> int:
    """Channels of the images, by the first convolution if the model names one."""
    name = network.default_cfg.get("first_conv") or ""  # type: ignore[union-attr, operator]
    first = dict(network.named_modules()).get(name if isinstance(name, str) else name[0])
    default: int = network.default_cfg["input_size"][0]  # type: ignore[index, union-attr, assignment]
    return getattr(first, "in_channels", default)


def _set_last_stride(network: nn.Module, name: str, stride: int) -> None:
    """Let the last stage of a ResNet run at `stride` 1."""
    if stride != 1 or not isinstance(network, timm.models.ResNet):
        raise OptionError(f"last_stride needs 2, or 1 for a ResNet; got {stride} for {name!r}: change last_stride")
    for convolution in network.layer4[0].modules():
        if isinstance(convolution, nn.Conv2d):
            convolution.stride = (1, 1)


def _load_weights(network: nn.Module, path: Path) -> None:
    """Fill all weights of `network` from a state dict of the whole model."""
    if not path.is_file():
        raise MissingPathError(f"the checkpoint needs to be a file; {path} is none: correct model.backbone.checkpoint")
    weights = read_weights(path).weights
    classifiers = network.default_cfg["classifier"]  # type: ignore[index, union-attr]
    classifier = tuple(f"{name}." for name in ([classifiers] if isinstance(classifiers, str) else classifiers))
    own = network.state_dict()
    unused = [key for key in weights if key not in own and not key.startswith(classifier)]
    optional = {key for key in own if key.endswith("num_batches_tracked")} - weights.keys()  # files older than PyTorch 0.4.1
    missing = [key for key in own if key not in optional and (key not in weights or weights[key].shape != own[key].shape)]
    if unused or missing:
        raise DataError(
            f"the checkpoint must hold the weights of {type(network).__name__}; in {path} {len(missing)} of {len(own)} "
            f"are missing or differ in shape ({', '.join(missing[:3])}) and {len(unused)} are unknown "
            f"({', '.join(unused[:3])}): convert it, or name the model it was made from in model.backbone.name"
        )
    network.load_state_dict({key: weights.get(key, own[key]) for key in own})
