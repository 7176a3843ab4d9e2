"""What timm's models offer beside `forward`, on top of a backbone, a meta-layer and a classifier."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from gcp_repro.errors import OptionError
from gcp_repro.metalayers import MetaLayer, build_meta_layer

if TYPE_CHECKING:
    from gcp_repro.models.feature_format import FeatureFormat

__all__ = ["TimmInterface"]


class TimmInterface(nn.Module):
    """Methods of a network with `backbone`, `meta_layer` and `classifier` that code written for timm's models calls.

    `forward_intermediates`, `feature_info`, `default_cfg` and `set_grad_checkpointing` are the backbone network's own, and exist
    where it has them.
    """

    backbone: nn.Module
    meta_layer: nn.Module
    classifier: nn.Module
    token_classifier: nn.Linear | None
    num_classes: int
    feature_format: FeatureFormat

    @property
    @abstractmethod
    def pooled_channels(self) -> int:
        """Channels that the meta-layer sees."""

    @property
    @abstractmethod
    def num_token_features(self) -> int:
        """Numbers of the class tokens that stand beside what is pooled."""

    @property
    def num_features(self) -> int:
        """Channels of `forward_features`."""
        return self.feature_format.channels

    @property
    def head_hidden_size(self) -> int:
        """Length of `forward_head(..., pre_logits=True)`."""
        if isinstance(self.meta_layer, nn.Identity):
            return self.num_features
        inputs: int = self.meta_layer.output_dim(self.pooled_channels)  # type: ignore[operator]
        return inputs + self.num_token_features

    def get_classifier(self) -> nn.Module:
        """The classifier; of one that is a single linear layer that layer."""
        layers = list(self.classifier) if isinstance(self.classifier, nn.Sequential) else [self.classifier]
        return layers[0] if len(layers) == 1 else self.classifier

    def reset_classifier(self, num_classes: int, global_pool: MetaLayer | str | None = None) -> None:
        """A new classifier, randomly initialised, on the device and in the dtype of the network.

        Args:
            num_classes: Number of scores; 0 gives the pooled features.
            global_pool: Another meta-layer, or its name; None keeps the present one. `""` gives the backbone's features as they
                are, with `num_classes=0`.

        Raises:
            OptionError: `global_pool=""` with classes, a negative number, or a classifier that is too large.
        """
        unpooled = global_pool == "" or (global_pool is None and isinstance(self.meta_layer, nn.Identity))
        if num_classes < 0 or (unpooled and num_classes):
            raise OptionError(
                f"a classifier needs a meta-layer and num_classes of at least 0; got num_classes={num_classes}, "
                f"global_pool={global_pool!r}: name a meta-layer as global_pool, or leave both out with num_classes=0"
            )
        self.num_classes = num_classes
        if global_pool is not None:
            layer = build_meta_layer(global_pool) if isinstance(global_pool, str) and global_pool else global_pool
            self.meta_layer = layer if isinstance(layer, nn.Module) else nn.Identity()
        if isinstance(self.meta_layer, nn.Identity):
            self.classifier, self.token_classifier = nn.Identity(), None
            return
        weight = next(self.backbone.parameters())
        self._make_classifier()
        for part in (self.classifier, self.token_classifier):
            if part is not None:
                part.to(weight.device, weight.dtype)

    @abstractmethod
    def _make_classifier(self) -> None:
        """Classifiers for `num_classes`, after the backbone, reduction and layer that are there."""

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that timm trains without weight decay."""
        names: set[str] = getattr(_network(self.backbone), "no_weight_decay", set)()
        prefix = "backbone.network." if hasattr(self.backbone, "network") else "backbone."
        return {f"{prefix}{name}" for name in names}

    def forward_intermediates(self, images: Tensor, *arguments: Any, **options: Any) -> Any:
        """Features of several stages, as timm's models give them."""
        return _network(self.backbone).forward_intermediates(images, *arguments, **options)

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute activations of the backbone in the backward pass instead of keeping them."""
        _network(self.backbone).set_grad_checkpointing(enable)

    @property
    def feature_info(self) -> Any:
        """Channels and strides of the backbone's stages."""
        return _network(self.backbone).feature_info

    @property
    def default_cfg(self) -> Any:
        """Timm's description of the backbone's weights: size, mean and deviation of images."""
        return _network(self.backbone).default_cfg

    pretrained_cfg = default_cfg


def _network(backbone: nn.Module) -> Any:
    network = getattr(backbone, "network", backbone)
    return network if isinstance(network, nn.Module) else backbone
