"""Backbones out of torchvision: AlexNet, VGG, ResNet, DenseNet, Inception and the later classifiers."""

from __future__ import annotations

import inspect
from collections import OrderedDict
from typing import Any

import torch
from timm.models import adapt_input_conv
from torch import Tensor, nn
from torchvision import models

from gcp_repro.errors import OptionError, UnknownNameError, nearest_names
from gcp_repro.models.cutting import CutNetwork

__all__ = ["TorchvisionBackbone", "is_torchvision_classifier"]

HEAD_PARTS = ("avgpool", "flatten", "dropout", "classifier", "head", "heads", "fc")
"""Names of children at which the head of a torchvision classifier begins."""

AUXILIARY = ("AuxLogits", "aux1", "aux2")
"""Second classifiers of Inception and GoogLeNet, which training alone uses."""

WITHOUT_LAST_POOLING = ("AlexNet", "VGG")
"""Classes whose features end in a max-pooling that covariance pooling leaves out."""

EXPLICIT = {"inception_v3": {"init_weights": True}, "googlenet": {"init_weights": True}}
"""Options that torchvision warns about unless they are given."""


class TorchvisionBackbone(CutNetwork):
    """A classifier of torchvision up to its features.

    The last max-pooling of AlexNet and VGG is left out (13x13 and 14x14 at 224), as in B-CNN and the public code of iSQRT-COV.

    Args:
        name: A name in `torchvision.models.list_models(module=torchvision.models)`.
        in_channels: Channels of the images: 3 for colour, 1 for grey.
        weights: Name of torchvision's weights for that model, as `"DEFAULT"` or `"IMAGENET1K_V1"`, which are downloaded; None for
            random ones.
        **options: For `torchvision.models.get_model`.

    Raises:
        UnknownNameError: torchvision has no such classifier.
        OptionError: Not three channels, and weights that scale the colours.

    Example:
        >>> import torch
        >>> backbone = TorchvisionBackbone("alexnet")
        >>> backbone(torch.zeros(1, 3, 224, 224)).shape, backbone.num_features
        (torch.Size([1, 256, 13, 13]), 256)

    Source:
        Lin et al., ICCV 2015 (VGG without its last pooling); Li et al., CVPR 2018.
    """

    def __init__(self, name: str, *, in_channels: int = 3, weights: str | None = None, **options: Any) -> None:
        known = models.list_models(module=models)
        if name not in known:
            raise UnknownNameError("torchvision classifier", name, nearest_names(name, known, limit=8))
        network = models.get_model(name, weights=weights, **{**EXPLICIT.get(name, {}), **options})
        if in_channels != 3:
            _adapt_input(network, name, in_channels)
        recipes = [{"library": "torchvision", "name": name, "in_channels": in_channels, **options}]
        size = _input_size(network, in_channels, name)
        super().__init__(_features_of(network), name=name, input_size=size, whole=network, recipes=recipes)

    @classmethod
    def from_network(cls, network: nn.Module, image_size: int | None = None) -> TorchvisionBackbone:
        """Cut a classifier that torchvision made; its modules are taken over, see `CutNetwork`.

        Args:
            network: The model.
            image_size: Side of images that it takes; None for 224, or what the model says.

        Raises:
            OptionError: No classifier of torchvision.
        """
        backbone = cls.__new__(cls)
        name = type(network).__name__.lower()
        _, *sides = _input_size(network, 3, name)
        in_channels = next(module.in_channels for module in network.modules() if isinstance(module, nn.Conv2d))
        size = (in_channels, *(sides if image_size is None else (image_size, image_size)))
        recipes = [{"library": "torchvision", "name": builder, "in_channels": in_channels} for builder in _builders_of(network)]
        CutNetwork.__init__(backbone, _features_of(network), name=name, input_size=size, whole=network, recipes=recipes)
        return backbone


class _Tokens(nn.Module):
    """The tokens of torchvision's vision transformer, class token first, by its own modules."""

    def __init__(self, network: models.VisionTransformer) -> None:
        super().__init__()
        self.conv_proj: nn.Module
        self.encoder: nn.Module
        self.conv_proj, self.encoder, self.class_token = network.conv_proj, network.encoder, network.class_token

    def forward(self, images: Tensor) -> Tensor:
        patches = self.conv_proj(images).flatten(2).mT
        tokens: Tensor = self.encoder(torch.cat([self.class_token.expand(len(patches), -1, -1), patches], dim=1))
        return tokens


class _InceptionColours(nn.Module):
    """ImageNet's normalisation of colours turned into that of the published Inception weights, [-1, 1]."""

    def forward(self, images: Tensor) -> Tensor:
        scale = images.new_tensor([0.229, 0.224, 0.225]).view(3, 1, 1) / 0.5
        shift = (images.new_tensor([0.485, 0.456, 0.406]).view(3, 1, 1) - 0.5) / 0.5
        return images * scale + shift


def _features_of(network: nn.Module) -> nn.Module:
    """The parts of a classifier in front of its head, under the names that they have there."""
    if not is_torchvision_classifier(network):
        raise OptionError(
            f"a network must be a classifier of torchvision; got {type(network).__name__} of {type(network).__module__}: choose "
            "one of torchvision.models.list_models(module=torchvision.models)"
        )
    if isinstance(network, models.VisionTransformer):
        return _Tokens(network)
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    if getattr(network, "transform_input", False):
        parts["colours"] = _InceptionColours()
    for name, child in network.named_children():
        if name in HEAD_PARTS:
            break
        if name not in AUXILIARY:
            parts[name] = nn.Sequential(*child) if isinstance(child, nn.ModuleList) else child
    if type(network).__name__ in WITHOUT_LAST_POOLING:
        parts["features"] = parts["features"][:-1]  # type: ignore[index]
    if isinstance(network, models.DenseNet):
        parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def is_torchvision_classifier(network: nn.Module) -> bool:
    """Whether a network's class is defined beside torchvision's classifiers, not among those for detection, video, ...."""
    return type(network).__module__.rpartition(".")[0] == "torchvision.models"


def _input_size(network: nn.Module, in_channels: int, name: str) -> tuple[int, int, int]:
    side = getattr(network, "image_size", 299 if "inception" in name else 224)
    return in_channels, side, side


def _adapt_input(network: nn.Module, name: str, in_channels: int) -> None:
    """Let the first convolution take images of `in_channels`; weights for grey are the sums over the colours."""
    if getattr(network, "transform_input", False):
        raise OptionError(
            f"{name} with weights or transform_input scales three colours; got in_channels={in_channels}: leave both out, or "
            "use colour"
        )
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    first.weight = nn.Parameter(adapt_input_conv(in_channels, first.weight.detach()))
    first.in_channels = in_channels


def _builders_of(network: nn.Module) -> list[str]:
    """Names of torchvision's classifiers of the same class."""
    returned = {
        name: inspect.signature(models.get_model_builder(name)).return_annotation for name in models.list_models(module=models)
    }
    return [name for name, annotation in returned.items() if annotation in (type(network), type(network).__name__)]
