"""First-order pooling, which the other layers replace."""

from __future__ import annotations

from torch import Tensor

from gcp_repro.metalayers.base import MetaLayer

__all__ = ["GlobalAveragePooling"]


class GlobalAveragePooling(MetaLayer):
    """Mean over positions, `D = C`."""

    @property
    def second_order(self) -> bool:
        return False

    def output_dim(self, channels: int) -> int:
        return channels

    def pool(self, features: Tensor) -> Tensor:
        return features.mean(-1)
