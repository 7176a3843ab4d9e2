"""Covariance pooling in the place of any network's own pooling."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.metalayers import MetaLayer
from gcp_repro.models.classifier import GCPClassifier
from gcp_repro.models.timm_backbone import TimmBackbone
from gcp_repro.models.torchvision_backbone import TorchvisionBackbone, is_torchvision_classifier
from gcp_repro.models.transformers_backbone import TransformersBackbone, is_transformers_model

__all__ = ["cut", "replace_pooling"]

MANY_INPUTS = 200_000
"""Inputs of a classifier from which on a warning proposes fewer channels: 632 of them give as many."""


def replace_pooling(
    model: nn.Module,
    meta_layer: MetaLayer | str = "svd_lyapunov",
    *,
    num_classes: int | None = None,
    image_size: int | None = None,
    **options: Any,
) -> GCPClassifier:
    """The model with a meta-layer in place of its pooling, and a classifier of the right size.

    All weights but those behind the pooling stay the same tensors; reduction and classifier are new, on the device and in the
    dtype of the model. The model is taken over: copy it first to keep it as it was.

    Args:
        model: An image classifier of timm, torchvision or transformers, or a `GCPClassifier`.
        meta_layer: A name for `build_meta_layer`, or a layer.
        num_classes: Number of scores; 0 gives pooled features; None keeps the model's number.
        image_size: Side of images that the model takes; None asks the model.
        **options: Of `GCPClassifier`: `reduce_dim`, `class_token`, `head`, ....

    Returns:
        Images `(B, channels, H, W)` to scores `(B, num_classes)`, with `forward_features`, `forward_head` and
        `reset_classifier` as timm's models have them.

    Raises:
        OptionError: A model of another kind, options out of range, or a classifier of more than 10^9 weights.
        ShapeError: The model has no positions left at its end, or several tensors.

    Warns:
        UserWarning: So many channels that the classifier gets 200,000 inputs or more.

    Example:
        >>> import timm, torch
        >>> model = replace_pooling(timm.create_model("resnet18", num_classes=10), "svd_lyapunov", reduce_dim=64)
        >>> model(torch.zeros(2, 3, 64, 64)).shape, model.get_classifier().in_features
        (torch.Size([2, 10]), 2080)
    """
    classes = _num_classes(model) if num_classes is None else num_classes
    training, weight = model.training, next(model.parameters())
    network = GCPClassifier(cut(model, image_size), meta_layer, classes, **options)
    _say_sizes(network)
    return network.to(weight.device, weight.dtype).train(training)


def cut(model: nn.Module, image_size: int | None = None) -> nn.Module:
    """A model up to its features, as a backbone for `GCPClassifier`; it is taken over.

    Args:
        model: An image classifier of timm, torchvision or transformers, or a `GCPClassifier`.
        image_size: Side of images that the model takes; None asks the model.

    Raises:
        OptionError: A model of another kind.
        ShapeError: The model has no positions left at its end, or several tensors.
    """
    if isinstance(model, GCPClassifier):
        return model.backbone
    if is_transformers_model(model):
        inner = getattr(model, "timm_model", None)
        return TransformersBackbone(model, image_size) if inner is None else TimmBackbone.from_network(inner, image_size)
    if callable(getattr(model, "forward_features", None)) and isinstance(getattr(model, "default_cfg", None), dict):
        return TimmBackbone.from_network(model, image_size)
    if is_torchvision_classifier(model):
        return TorchvisionBackbone.from_network(model, image_size)
    raise OptionError(
        "replace_pooling needs an image classifier of timm, torchvision or transformers; got "
        f"{type(model).__name__} of {type(model).__module__}: pass its part up to the features to GCPClassifier(backbone, ...), "
        "as a module with an integer num_features"
    )


def _say_sizes(network: GCPClassifier) -> None:
    """Warn of a classifier with very many inputs, and propose what has fewer."""
    channels, inputs = network.pooled_channels, network.head_hidden_size
    if inputs >= MANY_INPUTS:
        weights = sum(parameter.numel() for parameter in network.classifier.parameters())
        warnings.warn(
            f"{channels} channels give {inputs:,} inputs and {weights:,} weights of the classifier; reduce the channels first, "
            "as with reduce_dim=256 (32,896 inputs), pool groups of them apart (heads), or take another head",
            stacklevel=3,
        )


def _num_classes(model: nn.Module) -> int:
    """How many scores a model gives."""
    config = getattr(model, "config", None)
    known = getattr(model, "num_classes", getattr(config, "num_labels", None))
    if isinstance(known, int):
        return known
    last = [module for module in model.modules() if isinstance(module, (nn.Linear, nn.Conv2d))][-1]
    return last.out_features if isinstance(last, nn.Linear) else last.out_channels
