"""Backbones out of timm."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from torch import Tensor, nn

from gcp_repro.errors import DataError, OptionError, ShapeError, UnknownNameError, nearest_names
from gcp_repro.weight_files import read_weights

__all__ = ["TimmBackbone"]


class TimmBackbone(nn.Module):
    """The convolutional part of a timm model, without its pooling and classifier.

    Args:
        name: A name in `timm.list_models()`.
        in_channels: Channels of the images: 3 for colour, 1 for grey.
        pretrained: Download timm's weights for that name. The paper trains from random initialisation.
        checkpoint: File with a state dict of the whole timm model (its classifier is left out), of torch.save or safetensors,
            or None.
        last_stride: Stride of a ResNet's last stage: 2 as usual (7x7 at 224), or 1 as in the ResNets that the authors
            of iSQRT-COV published (14x14 at 224). Weights fit either.
        **options: For `timm.create_model`.

    Raises:
        UnknownNameError: timm has no such model.
        OptionError: `last_stride` is not 1 or 2, or is 1 for a model that is no ResNet.
        DataError: The checkpoint is missing, damaged or would run code, or its weights do not fit.

    Example:
        >>> import torch
        >>> backbone = TimmBackbone("resnet18")
        >>> backbone(torch.zeros(1, 3, 64, 64)).shape, backbone.num_features
        (torch.Size([1, 512, 2, 2]), 512)
    """

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        pretrained: bool = False,
        checkpoint: str | Path | None = None,
        last_stride: int = 2,
        **options: Any,
    ) -> None:
        super().__init__()
        if not timm.is_model(name):
            raise UnknownNameError("timm model", name, nearest_names(name, timm.list_models(), limit=8))
        self.name = name
        self.network = timm.create_model(
            name, pretrained=pretrained, in_chans=in_channels, num_classes=0, global_pool="", **options
        )
        self.num_features: int = self.network.num_features
        if last_stride != 2:
            _set_last_stride(self.network, name, last_stride)
        if checkpoint is not None:
            _load_weights(self.network, Path(checkpoint))

    def forward(self, images: Tensor) -> Tensor:
        """Map `(B, channels, H, W)` to `(B, num_features, h, w)`.

        Raises:
            ShapeError: The model gives tokens instead of a map, as transformers do.
        """
        features: Tensor = self.network.forward_features(images)
        if features.ndim != 4:
            raise ShapeError(
                f"a backbone must give features (B, C, h, w); {type(self.network).__name__} gave "
                f"{tuple(features.shape)}: choose a convolutional model"
            )
        return features


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
        raise DataError(f"the checkpoint needs to be a file; {path} is none: correct model.backbone.checkpoint")
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
