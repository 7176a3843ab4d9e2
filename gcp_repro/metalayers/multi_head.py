"""Several covariances of fewer channels instead of one: a layer for each group of channels, and cross-covariances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from torch import Tensor, nn

from gcp_repro.errors import OptionError
from gcp_repro.linalg.covariance import center
from gcp_repro.linalg.machinery.modes import in_own_precision
from gcp_repro.linalg.machinery.options import Above, AtLeast, checked
from gcp_repro.linalg.matrix_steps import power_of_largest
from gcp_repro.linalg.signed_root import signed_root_and_normalise
from gcp_repro.metalayers.base import MetaLayer
from gcp_repro.metalayers.plain import PlainHeads

__all__ = ["CrossCovariancePooling", "MultiHeadPooling"]


class MultiHeadPooling(MetaLayer):
    """A layer on each of `heads` groups of neighbouring channels, outputs side by side: `D = heads * output_dim(C / heads)`.

    With h heads the classifier has about `C^2 / 2h` inputs instead of `C^2 / 2`, and the decompositions take `h^2` times less.

    Args:
        layer: Of every head.
        heads: Groups of channels; must divide their number.

    Raises:
        OptionError: `heads` below 1.

    Source:
        The group convolution of Wang et al., T-PAMI 2021 (arXiv:1904.06836) and the heads of So-ViT (arXiv:2104.10935), each
        with a layer of its own kind.
    """

    @checked
    def __init__(self, layer: MetaLayer, heads: Annotated[int, AtLeast(1)]) -> None:
        super().__init__()
        self.layer, self.heads = layer, heads
        layer.layout = "nchw"  # of what it is handed

    def extra_repr(self) -> str:
        return f"heads={self.heads}"

    @property
    def second_order(self) -> bool:
        return self.layer.second_order

    def output_dim(self, channels: int) -> int:
        if channels % self.heads:
            raise OptionError(
                f"heads must divide the channels; got {self.heads} heads for {channels} channels: change heads, or the channels "
                "by reduce_dim"
            )
        return self.heads * self.layer.output_dim(channels // self.heads)

    @property
    def kind(self) -> str:
        return f"{type(self).__name__} of {self.layer.kind}"

    def computes(self) -> Mapping[str, Any]:
        return {"heads": self.heads, **self.layer.computes()}

    @property
    def statistic(self) -> str:
        return f"{self.heads} heads of {self.layer.statistic}"

    def can_follow(self, other: MetaLayer) -> bool:
        return isinstance(other, MultiHeadPooling) and self.heads == other.heads and self.layer.can_follow(other.layer)

    def in_plain_torch(self, features: Tensor) -> nn.Module:
        return PlainHeads(self.layer.in_plain_torch(features), self.heads, self.layout)

    def pool(self, features: Tensor) -> Tensor:
        size = self.output_dim(features.shape[1])
        grouped = features.reshape(-1, features.shape[1] // self.heads, features.shape[2])
        return self.layer.pool(grouped).view(-1, size)


class CrossCovariancePooling(MetaLayer):
    """Cross-covariance `Q K^T / N` of the first and the second half of the channels, all entries, row by row: `D = (C / 2)^2`.

    For odd C the second half has one channel more; a single channel gives its variance.

    Args:
        normalization: `"svpn"` takes the largest singular values to `exponent` and scales the rest alike: with triples
            (u_i, s_i, v_i) of power iteration, one after the other, `M -> sum_i s_i^a u_i v_i^T + R / (s_k^(1 - a) + 1e-5)`,
            where R is what the k triples leave of M. `"epn"` is the signed square root and the l2 norm of each head.
            `"none"` leaves the cross-covariance as it is.
        exponent: `a`, of svpn.
        num_values: `k`, of svpn.
        num_iterations: Steps of power iteration, from a vector of ones.

    Raises:
        OptionError: A value out of range.

    Source:
        Xie, Zeng, Wang, Zhou, Li: So-ViT (arXiv:2104.10935). DropCov's transformers (Wang et al., NeurIPS 2022) have it with
        `"none"`. The authors' power iteration starts from a learned vector, or from ones (`init_weight="one"`), as here; their
        projection to queries and keys is the channel reduction in front of the layer.
    """

    @checked
    def __init__(
        self,
        normalization: Literal["svpn", "epn", "none"] = "svpn",
        exponent: Annotated[float, Above(0)] = 0.5,
        num_values: Annotated[int, AtLeast(1)] = 1,
        num_iterations: Annotated[int, AtLeast(1)] = 1,
    ) -> None:
        super().__init__()
        self.normalization, self.exponent = normalization, exponent
        self.num_values, self.num_iterations = num_values, num_iterations

    def extra_repr(self) -> str:
        return f"normalization={self.normalization}"

    def output_dim(self, channels: int) -> int:
        return max(channels // 2, 1) * (channels - channels // 2)

    def computes(self) -> Mapping[str, Any]:
        if self.normalization != "svpn":
            return {"normalization": self.normalization}
        names = ("normalization", "exponent", "num_values", "num_iterations")
        return {name: getattr(self, name) for name in names}

    def pool(self, features: Tensor) -> Tensor:
        with in_own_precision(features):
            half = features.shape[1] // 2
            centered = center(features.double())
            moment = centered[:, : max(half, 1)] @ centered[:, half:].mT
            if self.normalization == "svpn":
                moment = power_of_largest(moment, self.exponent, self.num_values, self.num_iterations)
            flat = moment.flatten(1)
            if self.normalization == "epn":
                return signed_root_and_normalise(flat, features.dtype)
            return flat.to(features.dtype)
