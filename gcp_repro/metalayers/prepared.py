"""What happens to features before a layer pools them: dropout of channels, correlation, shrinkage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from torch import Tensor, nn

from gcp_repro.errors import OptionError
from gcp_repro.linalg.estimators import SHRINKAGES, shrink, standardise
from gcp_repro.linalg.feature_layout import as_positions
from gcp_repro.linalg.machinery.modes import in_own_precision
from gcp_repro.linalg.machinery.options import Above, Below, checked
from gcp_repro.metalayers.base import MetaLayer
from gcp_repro.metalayers.dropout import ChannelDropout

__all__ = ["PreparedPooling"]

Share = Annotated[float, Above(0), Below(1)]


class PreparedPooling(MetaLayer):
    """A layer on features that are prepared, in this order, in float64.

    Args:
        layer: That pools them.
        dropout: `"adaptive"`, or the probability with which a channel is dropped in training (`ChannelDropout`).
        correlation: Pool correlations instead of covariances: divide every channel by its standard deviation.
        shrinkage: Pool the covariance drawn towards a multiple of the identity of the same trace, by the given weight or by the
            one that `"ledoit_wolf"` or `"oas"` estimates (`linalg.estimators`).

    Raises:
        OptionError: A value out of range, or correlation and shrinkage for a layer that pools no covariance.
    """

    @checked
    def __init__(
        self,
        layer: MetaLayer,
        dropout: Literal["none", "adaptive"] | Share = "none",
        correlation: bool = False,
        shrinkage: Literal["none", "ledoit_wolf", "oas"] | Share = "none",
    ) -> None:
        super().__init__()
        if not layer.second_order and (correlation or shrinkage != "none"):
            raise OptionError(
                f"correlation and shrinkage need a layer that pools covariances; got {layer.name}: leave them out, or choose "
                "another layer"
            )
        self.layer, self.correlation, self.shrinkage = layer, correlation, shrinkage
        layer.layout = "nchw"  # of what it is handed
        self.dropout = nn.Identity() if dropout == "none" else ChannelDropout(dropout)

    def extra_repr(self) -> str:
        return f"correlation={self.correlation}, shrinkage={self.shrinkage}"

    @property
    def second_order(self) -> bool:
        return self.layer.second_order

    def output_dim(self, channels: int) -> int:
        return self.layer.output_dim(channels)

    @property
    def kind(self) -> str:
        return f"{type(self).__name__} of {self.layer.kind}" if self._estimate() else self.layer.kind

    def _estimate(self) -> Mapping[str, Any]:
        """What is other in evaluation, too, than that of the layer alone."""
        options = {"correlation": self.correlation, "shrinkage": self.shrinkage}
        return {name: value for name, value in options.items() if value not in (False, "none")}

    def computes(self) -> Mapping[str, Any]:
        return {**self._estimate(), **self.layer.computes()}

    @property
    def statistic(self) -> str:
        return ", ".join([self.layer.statistic, *(f"{name}={value}" for name, value in self._estimate().items())])

    def in_plain_torch(self, features: Tensor) -> nn.Module:
        return _PlainPrepared(self, self.layer.in_plain_torch(features))

    def prepare(self, features: Tensor) -> Tensor:
        """Features `(B, C, N)` as the layer pools them."""
        with in_own_precision(features):
            prepared: Tensor = self.dropout(features.double())
            if self.correlation:
                prepared = standardise(prepared)
            if self.shrinkage != "none":
                weight = SHRINKAGES[self.shrinkage] if isinstance(self.shrinkage, str) else self.shrinkage
                prepared = shrink(prepared, weight)
        return prepared

    def pool(self, features: Tensor) -> Tensor:
        return self.layer.pool(self.prepare(features)).to(features.dtype)


class _PlainPrepared(nn.Module):
    """The value of a `PreparedPooling` with the given layer."""

    def __init__(self, prepared: PreparedPooling, layer: nn.Module) -> None:
        super().__init__()
        self.prepared, self.layer = prepared, layer

    def forward(self, features: Tensor) -> Tensor:
        x = as_positions(features, self.prepared.layout)
        pooled: Tensor = self.layer(self.prepared.prepare(x))
        return pooled.to(features.dtype)
