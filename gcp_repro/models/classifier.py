"""Backbone, channel reduction, meta-layer and classifier in one network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from gcp_repro.errors import OptionError
from gcp_repro.metalayers import MetaLayer, build_meta_layer
from gcp_repro.models.backbones import build_backbone

__all__ = ["GCPClassifier"]

MAX_CLASSIFIER_WEIGHTS = 1_000_000_000  # 4 GB in float32, and as much again for gradient and momentum each


class GCPClassifier(nn.Module):
    """A network with global covariance pooling: images to class scores.

    Args:
        backbone: A module with `num_features`, or a name for `build_backbone`.
        meta_layer: A module with `output_dim`, or a name for `build_meta_layer`.
        num_classes: Number of scores.
        reduce_dim: Channels that a 1x1 convolution with batch norm and ReLU leaves before the meta-layer; None passes
            the backbone's features on. The paper reduces ResNet's 2048 channels to 256.
        hidden_dims: Widths of hidden linear layers with ReLU in the classifier; the paper's AlexNet has (4096, 4096).
        reduce_average_pooling: Whether `reduce_dim` also holds for first-order pooling (`gap`). The paper's vanilla
            rows pool the unreduced features, which is the default; true gives both kinds the same features.

    Attributes:
        backbone: Images `(B, channels, H, W)` to `(B, C, h, w)`.
        reduce: `(B, C, h, w)` to `(B, reduce_dim, h, w)`, or the identity.
        meta_layer: To `(B, D)`. May be exchanged for another one of the same output size in mid-training.
        classifier: To `(B, num_classes)`.

    Raises:
        OptionError: A size below 1, or a classifier of more than 10^9 weights: second-order pooling squares the number
            of channels, 2,048 of them give 2.1 million inputs.
        UnknownNameError: A name that is not registered.

    Source:
        Song, Sebe, Wang, ICCV 2021, sec. 5.1; the reduction is initialised as in the published ResNets.
    """

    def __init__(
        self,
        backbone: nn.Module | str,
        meta_layer: MetaLayer | str,
        num_classes: int,
        reduce_dim: int | None = None,
        hidden_dims: Sequence[int] = (),
        reduce_average_pooling: bool = False,
    ) -> None:
        super().__init__()
        sizes = {"num_classes": num_classes, "reduce_dim": reduce_dim, "hidden_dims": tuple(hidden_dims)}
        if min(num_classes, 1 if reduce_dim is None else reduce_dim, *hidden_dims) < 1:
            raise OptionError(f"a network needs sizes of at least 1; got {sizes}: change them under model")
        self.backbone = build_backbone(backbone) if isinstance(backbone, str) else backbone
        meta_layer = build_meta_layer(meta_layer) if isinstance(meta_layer, str) else meta_layer
        channels: int = self.backbone.num_features  # type: ignore[assignment]
        self.reduce: nn.Module = nn.Identity()
        if reduce_dim is not None and (reduce_average_pooling or not is_first_order(meta_layer)):
            self.reduce = channel_reduction(channels, reduce_dim)
            channels = reduce_dim
        self.meta_layer = meta_layer
        inputs = meta_layer.output_dim(channels)
        self.classifier = linear_classifier(inputs, hidden_dims, num_classes, channels)

    def forward(self, images: Tensor) -> Tensor:
        """Scores `(B, num_classes)` of images `(B, channels, H, W)`."""
        scores: Tensor = self.classifier(self.meta_layer(self.reduce(self.backbone(images))))
        return scores


def is_first_order(meta_layer: MetaLayer) -> bool:
    """Whether a layer gives one number a channel, as average pooling does."""
    return all(meta_layer.output_dim(channels) == channels for channels in (1, 2, 3))


def channel_reduction(channels: int, reduce_dim: int) -> nn.Sequential:
    """A 1x1 convolution without bias, batch norm and ReLU: `(B, channels, h, w)` to `(B, reduce_dim, h, w)`."""
    convolution = nn.Conv2d(channels, reduce_dim, kernel_size=1, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(reduce_dim), nn.ReLU(inplace=True))


def linear_classifier(inputs: int, hidden_dims: Sequence[int], num_classes: int, channels: int) -> nn.Module:
    """Linear layers with ReLU between them: `(B, inputs)` to `(B, num_classes)`.

    Raises:
        OptionError: More than 10^9 weights in one layer.
    """
    sizes = list(pairwise((inputs, *hidden_dims, num_classes)))
    largest = max(before * after for before, after in sizes)
    if largest > MAX_CLASSIFIER_WEIGHTS:
        raise OptionError(
            f"a linear layer needs at most {MAX_CLASSIFIER_WEIGHTS:,} weights; {channels} channels give {inputs:,} "
            f"inputs and {largest:,} weights: reduce the channels first, as with model.reduce_dim=256"
        )
    first, *others = [nn.Linear(before, after) for before, after in sizes]
    return nn.Sequential(first, *(layer for linear in others for layer in (nn.ReLU(inplace=True), linear)))
