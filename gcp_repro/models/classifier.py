"""Backbone, channel reduction, meta-layer and classifier in one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import torch
from torch import Tensor, nn

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.options import AtLeast, Below, checked
from gcp_repro.metalayers import MetaLayer, build_meta_layer
from gcp_repro.models.backbones import build_backbone
from gcp_repro.models.feature_format import FeatureFormat
from gcp_repro.models.heads import build_head
from gcp_repro.models.hub import HubModel
from gcp_repro.models.reduction import channel_reduction, reduced_channels
from gcp_repro.models.timm_interface import TimmInterface

__all__ = ["GCPClassifier"]

MAX_CLASSIFIER_WEIGHTS = 1_000_000_000
"""4 GB in float32, and as much again for gradient and momentum each."""


class GCPClassifier(TimmInterface, HubModel):
    """A network with global covariance pooling: images to class scores.

    Args:
        backbone: A module with `num_features`, or a name for `build_backbone`. It makes maps with channels second, unless it
            has an attribute `layout`, or its channels are found last alone. Of tokens, `num_prefix_tokens` are left out, and the
            first `num_class_tokens` are class tokens.
        meta_layer: A module with `output_dim`, or a name for `build_meta_layer`.
        num_classes: Number of scores; 0 gives the pooled features instead.
        reduce_dim: Channels that a 1x1 convolution with batch norm and ReLU leaves before the meta-layer; None passes
            the backbone's features on. The paper reduces ResNet's 2048 channels to 256. Several numbers are as many steps.
        hidden_dims: Widths of hidden linear layers with ReLU in the classifier; the paper's AlexNet has (4096, 4096).
        reduce_average_pooling: Whether `reduce_dim` also holds for first-order pooling (`gap`). The paper's vanilla
            rows pool the unreduced features, which is the default; true gives both kinds the same features.
        reduction: `"convolution"`, or `"linear"` without batch norm and ReLU.
        reduce_groups: Groups of the reduction's convolutions.
        head: The classifier: a name in `HEADS`, or a mapping of that name and its options.
        class_token: `"drop"` pools the tokens of the image alone; `"concat"` puts the class tokens beside what is pooled.
        drop_rate: Dropout of the pooled features.

    Attributes:
        backbone: Images `(B, channels, H, W)` to `(B, C, h, w)`, or to another layout.
        reduce: `(B, C, h, w)` to `(B, reduce_dim, h, w)`, or the identity.
        meta_layer: To `(B, D)`. May be exchanged for another one of the same output size in mid-training.
        classifier: To `(B, num_classes)`.
        token_classifier: Of the class tokens, without bias, whose scores are added: one linear classifier of both side by side.
            None unless `class_token="concat"`.

    Raises:
        OptionError: A size below 1, or a classifier of more than 10^9 weights: second-order pooling squares the number
            of channels, 2,048 of them give 2.1 million inputs.
        UnknownNameError: A name that is not registered.

    Source:
        Song, Sebe, Wang, ICCV 2021, sec. 5.1; the reduction is initialised as in the published ResNets. Class tokens beside the
        covariance: So-ViT (arXiv:2104.10935), which adds the scores of two classifiers.
    """

    @checked
    def __init__(
        self,
        backbone: nn.Module | str | Mapping[str, Any],
        meta_layer: MetaLayer | str,
        num_classes: Annotated[int, AtLeast(0)],
        reduce_dim: int | Sequence[int] | None = None,
        hidden_dims: Sequence[int] = (),
        reduce_average_pooling: bool = False,
        *,
        reduction: Literal["convolution", "linear"] = "convolution",
        reduce_groups: Annotated[int, AtLeast(1)] = 1,
        head: str | Mapping[str, Any] = "linear",
        class_token: Literal["drop", "concat"] = "drop",
        drop_rate: Annotated[float, AtLeast(0), Below(1)] = 0.0,
    ) -> None:
        super().__init__()
        self.backbone = backbone if isinstance(backbone, nn.Module) else build_backbone(backbone)
        meta_layer = build_meta_layer(meta_layer) if isinstance(meta_layer, str) else meta_layer
        _require_plain_layout(meta_layer)
        self.num_classes, self.hidden_dims, self.head = num_classes, tuple(hidden_dims), head
        self.class_token, self.drop_rate = class_token, drop_rate
        self.reduction, self.reduce_groups = reduction, reduce_groups
        reduced = reduced_channels(reduce_dim)
        self.reduce_dim = reduced if reduce_average_pooling or not is_first_order(meta_layer) else ()
        self.feature_format = FeatureFormat.of(self.backbone)
        self.reduce: nn.Module = nn.Identity()
        if self.reduce_dim:
            self.reduce = channel_reduction(self.feature_format.channels, self.reduce_dim, reduction, reduce_groups)
        self.meta_layer: nn.Module = meta_layer
        self._make_classifier()

    @property
    def pooled_channels(self) -> int:
        """Channels that the meta-layer sees."""
        return (self.feature_format.channels, *self.reduce_dim)[-1]

    @property
    def num_token_features(self) -> int:
        """Numbers of the class tokens that stand beside what is pooled."""
        kept = self.feature_format.num_class_tokens if self.class_token == "concat" else 0
        return kept * self.feature_format.channels

    def forward(self, images: Tensor) -> Tensor:
        """Scores `(B, num_classes)` of images `(B, channels, H, W)`."""
        if isinstance(self.meta_layer, nn.Identity):
            return self.forward_features(images)
        return self._scores(self.backbone(images))  # by its call, which hooks, compilation and sharding rely on

    def forward_features(self, images: Tensor) -> Tensor:
        """The backbone's features, as it makes them."""
        make = getattr(self.backbone, "forward_features", self.backbone)
        features: Tensor = make(images)
        return features

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Scores of the backbone's features; with `pre_logits` what the classifier sees.

        Raises:
            ShapeError: The features are not what the backbone says.
        """
        if isinstance(self.meta_layer, nn.Identity):
            return features
        normalise = getattr(self.backbone, "normalise", None)
        return self._scores(features if normalise is None else normalise(features), pre_logits)

    def _scores(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Of features that need no further norm."""
        maps, tokens = self.feature_format.split(features)
        positions = self.reduce(maps).flatten(2).unsqueeze(-1)  # (B, C, N, 1) has one reading only
        pooled: Tensor = self.meta_layer(positions)
        if self.drop_rate:
            pooled = nn.functional.dropout(pooled, self.drop_rate, self.training)
        beside = tokens if self.class_token == "concat" else None
        if pre_logits or self.num_classes == 0:
            return pooled if beside is None else torch.cat([pooled, beside], dim=1)
        scores: Tensor = self.classifier(pooled)
        return scores if beside is None or self.token_classifier is None else scores + self.token_classifier(beside)

    def _make_classifier(self) -> None:
        """Classifiers for `num_classes`, after the backbone, reduction and layer that are there."""
        inputs = self.meta_layer.output_dim(self.pooled_channels)  # type: ignore[operator]
        _check_inputs(self.pooled_channels, inputs, (*self.hidden_dims, self.num_classes)[0], self.head)
        self.classifier = build_head(self.head, inputs, self.num_classes, self.hidden_dims)
        self.token_classifier: nn.Linear | None = None
        if self.num_token_features and self.num_classes:
            self.token_classifier = nn.Linear(self.num_token_features, self.num_classes, bias=False)


def is_first_order(meta_layer: MetaLayer) -> bool:
    """Whether a layer gives one number a channel, as average pooling does."""
    heads: int = getattr(meta_layer, "heads", 1)
    return all(meta_layer.output_dim(channels) == channels for channels in (heads, 2 * heads, 3 * heads))


def _require_plain_layout(meta_layer: nn.Module) -> None:
    layout = getattr(meta_layer, "layout", "auto")
    if layout not in ("auto", "nchw"):
        raise OptionError(
            f"a layer inside a GCPClassifier gets its channels second, whatever the backbone's layout; got layout={layout!r}: "
            "leave it out of the layer, and give the backbone an attribute layout"
        )


def _check_inputs(channels: int, inputs: int, outputs: int, head: str | Mapping[str, Any]) -> None:
    """Refuse a matrix that no memory holds, before any is taken."""
    linear = (head if isinstance(head, str) else head.get("name")) == "linear"
    if linear and inputs * outputs > MAX_CLASSIFIER_WEIGHTS:
        raise OptionError(
            f"a linear layer needs at most {MAX_CLASSIFIER_WEIGHTS:,} weights; {channels} channels give {inputs:,} inputs and "
            f"{inputs * outputs:,} weights: reduce the channels first, as with model.reduce_dim=256"
        )
