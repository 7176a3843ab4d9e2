"""What a backbone makes: maps or tokens, and which tokens are no positions of the image."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from gcp_repro.errors import OptionError, ShapeError
from gcp_repro.linalg.feature_layout import as_maps, check_layout, find_layout

__all__ = ["FeatureFormat"]


@dataclass(frozen=True)
class FeatureFormat:
    """Form of a backbone's features.

    Attributes:
        channels: Of every position.
        layout: One of `linalg.feature_layout.LAYOUTS`; `"auto"` finds it by the number of channels.
        num_prefix_tokens: Tokens in front of those of the image: class tokens first, then registers.
        num_class_tokens: How many of them are class tokens.
        maker: Whose features they are, for messages.
    """

    channels: int
    layout: str = "auto"
    num_prefix_tokens: int = 0
    num_class_tokens: int = 0
    maker: str = "the backbone"

    @classmethod
    def of(cls, backbone: nn.Module) -> FeatureFormat:
        """What the attributes of a backbone say: `num_features`, and if it has them `layout` and the numbers of tokens.

        Raises:
            OptionError: There is no integer `num_features`, or the layout has no such name.
        """
        maker = str(getattr(backbone, "name", type(backbone).__name__))
        channels = getattr(backbone, "num_features", None)
        if not isinstance(channels, int):
            raise OptionError(
                f"a backbone needs an integer attribute num_features, its number of channels; that of {maker} is {channels!r}: "
                "set it, or cut a whole network with gcp_repro.models.replace_pooling"
            )
        prefix, classes = (getattr(backbone, name, 0) for name in ("num_prefix_tokens", "num_class_tokens"))
        return cls(channels, check_layout(getattr(backbone, "layout", "auto")), prefix, classes, maker)

    def split(self, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Maps `(B, C, H, W)`, or `(B, C, N, 1)` of tokens, and the class tokens side by side, `(B, K C)`, if there are any.

        Raises:
            ShapeError: The channels are not where the layout says, or no position is left besides the prefix.
        """
        if not isinstance(features, Tensor):
            raise ShapeError(
                f"features must be one tensor; {self.maker} gives a {type(features).__name__} of {len(features)}: choose a "
                "network with one map at its end, or write a backbone that picks one"
            )
        layout = self.layout
        if layout == "auto" and features.ndim in (3, 4):
            layout = find_layout(tuple(features.shape), self.channels, self.maker)
        if layout != "tokens" or not self.num_prefix_tokens or features.ndim != 3:
            return as_maps(features, self.channels, layout, self.maker), None
        if features.shape[1] <= self.num_prefix_tokens:
            raise ShapeError(
                f"pooling needs tokens of the image; {self.maker} gives {tuple(features.shape)}, of which "
                f"{self.num_prefix_tokens} are class tokens or registers: choose a network that keeps its positions"
            )
        maps = as_maps(features[:, self.num_prefix_tokens :], self.channels, layout, self.maker)
        kept = features[:, : self.num_class_tokens].flatten(1)
        return maps, kept if self.num_class_tokens else None
