"""Fewer channels before the covariance, whose size grows with their square."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.options import AtLeast, checked

__all__ = ["channel_reduction", "reduced_channels"]


def reduced_channels(reduce_dim: int | Sequence[int] | None) -> tuple[int, ...]:
    """Channels after each step of a reduction; none for None.

    Raises:
        OptionError: A number below 1.
    """
    steps = () if reduce_dim is None else (reduce_dim,) if isinstance(reduce_dim, int) else tuple(reduce_dim)
    if steps and min(steps) < 1:
        raise OptionError(f"reduce_dim needs sizes of at least 1; got {reduce_dim}: change them under model")
    return steps


@checked
def channel_reduction(
    channels: int,
    reduce_dim: int | Sequence[int],
    kind: Literal["convolution", "linear"] = "convolution",
    groups: Annotated[int, AtLeast(1)] = 1,
) -> nn.Sequential:
    """1x1 convolutions one after the other: `(B, channels, H, W)` to `(B, reduce_dim, H, W)`.

    Args:
        channels: Before it.
        reduce_dim: Channels after it, or those after each step: `[1024, 512, 256]` is progressive.
        kind: `"convolution"` is a 1x1 convolution without bias, batch norm and ReLU; `"linear"` is the first of these alone.
        groups: Of every convolution; each sees its own share of the channels.

    Raises:
        OptionError: A size below 1, an unknown kind, or groups that do not divide the channels of a step.

    Source:
        One step: Li et al., CVPR 2018, initialised as in the published ResNets. Progressive and grouped: Wang et al., T-PAMI 2021
        (arXiv:1904.06836). Linear: the projection to queries and keys of So-ViT (arXiv:2104.10935).
    """
    layers: list[nn.Module] = []
    for size in reduced_channels(reduce_dim):
        if channels % groups or size % groups:
            raise OptionError(
                f"reduce_groups must divide the channels of every step; got {groups} groups from {channels} to {size} channels: "
                "change model.reduce_groups or model.reduce_dim"
            )
        layers += _step(channels, size, kind, groups)
        channels = size
    return nn.Sequential(*layers)


def _step(channels: int, size: int, kind: str, groups: int) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, size, kernel_size=1, bias=False, groups=groups)
    if kind == "linear":
        nn.init.trunc_normal_(convolution.weight, std=0.02)
        return [convolution]
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return [convolution, nn.BatchNorm2d(size), nn.ReLU(inplace=True)]
