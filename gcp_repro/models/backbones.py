"""Backbones: images in, local features out.

A backbone is any `nn.Module` with an integer `num_features` that maps images `(B, channels, H, W)` to features
`(B, num_features, h, w)`, or to those of another `layout` (`gcp_repro.models.feature_format`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import timm
from torch import Tensor, nn

from gcp_repro.errors import OptionError, UnknownNameError, nearest_names
from gcp_repro.models.timm_backbone import TimmBackbone
from gcp_repro.models.torchvision_backbone import TorchvisionBackbone
from gcp_repro.models.transformers_backbone import TransformersBackbone

__all__ = ["BACKBONES", "AlexNetBN", "ConvStage", "NarrowAlexNet", "build_backbone"]


@dataclass(frozen=True)
class ConvStage:
    """One stage: convolution, then batch norm and ReLU unless they are switched off, and max-pooling if asked for.

    Args:
        channels: Output channels.
        kernel: Side of the convolution.
        stride: Its stride.
        padding: Zeros around the input; None keeps the size at stride 1 (kernel // 2).
        pool: Side of a max-pooling of stride 2 after the ReLU; 0 for none.
        batch_norm: Whether batch norm follows the convolution.
        relu: Whether a ReLU follows that.

    Raises:
        OptionError: A size out of range.
    """

    channels: int
    kernel: int
    stride: int = 1
    padding: int | None = None
    pool: int = 0
    batch_norm: bool = True
    relu: bool = True

    def __post_init__(self) -> None:
        if min(self.channels, self.kernel, self.stride) < 1 or min(self.padding or 0, self.pool) < 0:
            raise OptionError(
                f"a stage needs channels, kernel and stride of at least 1, padding and pool of at least 0; got {self}: "
                "change model.backbone.stages"
            )

    def layers(self, in_channels: int) -> list[nn.Module]:
        """The modules of this stage, for an input of `in_channels`."""
        padding = self.kernel // 2 if self.padding is None else self.padding
        layers: list[nn.Module] = [nn.Conv2d(in_channels, self.channels, self.kernel, self.stride, padding)]
        if self.batch_norm:
            layers.append(nn.BatchNorm2d(self.channels))
        if self.relu:
            layers.append(nn.ReLU(inplace=True))
        if self.pool:
            layers.append(nn.MaxPool2d(self.pool, stride=2))
        return layers


class NarrowAlexNet(nn.Module):
    """A plain stack of convolutions in the manner of AlexNet, as wide and as deep as its stages say.

    Args:
        stages: `ConvStage`s, or mappings with their fields as they come from a configuration.
        in_channels: Channels of the images: 3 for colour, 1 for grey.

    Raises:
        OptionError: No stage at all, or a size out of range.

    Example:
        >>> import torch
        >>> backbone = NarrowAlexNet([ConvStage(8, kernel=5, stride=2, pool=2), ConvStage(16, kernel=3)], in_channels=1)
        >>> backbone(torch.zeros(2, 1, 32, 32)).shape, backbone.num_features
        (torch.Size([2, 16, 8, 8]), 16)
    """

    name = "narrow_alexnet"
    layout = "nchw"

    def __init__(self, stages: Iterable[ConvStage | dict[str, Any]], in_channels: int = 3) -> None:
        super().__init__()
        parsed = [stage if isinstance(stage, ConvStage) else ConvStage(**stage) for stage in stages]
        if not parsed:
            raise OptionError("a backbone needs at least one stage; got none: fill model.backbone.stages")
        layers: list[nn.Module] = []
        channels = in_channels
        for stage in parsed:
            layers += stage.layers(channels)
            channels = stage.channels
        self.num_features = channels
        self.features = nn.Sequential(*layers)
        options: dict[str, Any] = {"stages": [asdict(stage) for stage in parsed], "in_channels": in_channels}
        self.recipes: tuple[dict[str, Any], ...] = ({"library": "gcp_repro", "name": self.name, **options},)

    def forward(self, images: Tensor) -> Tensor:
        """Map `(B, in_channels, H, W)` to `(B, num_features, h, w)`."""
        features: Tensor = self.features(images)
        return features


class AlexNetBN(NarrowAlexNet):
    """AlexNet with batch norm after every convolution and without the last max-pooling: 256 x 13 x 13 at 224.

    The two hidden layers of 4096 units belong to the classifier: `GCPClassifier(..., hidden_dims=(4096, 4096))`.

    Args:
        in_channels: Channels of the images.

    Source:
        Krizhevsky, arXiv:1404.5997, in torchvision's layout; batch norm and the missing pooling as in Song, Sebe, Wang,
        ICCV 2021, sec. 5.1. Convolutions keep their bias, as in the authors' code.
    """

    name = "alexnet_bn"

    def __init__(self, in_channels: int = 3) -> None:
        stages = [
            ConvStage(64, kernel=11, stride=4, padding=2, pool=3),
            ConvStage(192, kernel=5, pool=3),
            ConvStage(384, kernel=3),
            ConvStage(256, kernel=3),
            ConvStage(256, kernel=3),
        ]
        super().__init__(stages, in_channels)
        self.recipes = ({"library": "gcp_repro", "name": self.name, "in_channels": in_channels},)


BACKBONES: dict[str, Callable[..., nn.Module]] = {"alexnet_bn": AlexNetBN}
"""Backbones with a name of their own; all other names are timm's."""

LIBRARIES: dict[str, Callable[..., nn.Module]] = {
    "gcp_repro": lambda name, **options: {**BACKBONES, "narrow_alexnet": NarrowAlexNet}[name](**options),
    "timm": TimmBackbone,
    "torchvision": TorchvisionBackbone,
    "transformers": TransformersBackbone.from_recipe,
}


def build_backbone(backbone: str | Mapping[str, Any]) -> nn.Module:
    """A randomly initialised backbone.

    Args:
        backbone: One of `BACKBONES`, or any model of timm that keeps its positions; or a mapping with `library` (`"timm"`,
            `"torchvision"`, `"transformers"`, `"gcp_repro"`), `name` and the options of that library's class.

    Raises:
        UnknownNameError: No such name; the message offers the nearest ones.
    """
    if isinstance(backbone, Mapping):
        options = dict(backbone)
        library = options.pop("library", None)
        if library not in LIBRARIES:
            raise UnknownNameError("library of backbones", library, LIBRARIES)
        return LIBRARIES[library](**options)
    if backbone in BACKBONES:
        return BACKBONES[backbone]()
    if timm.is_model(backbone):
        return TimmBackbone(backbone)
    raise UnknownNameError("backbone", backbone, [*BACKBONES, *nearest_names(backbone, timm.list_models())])
