"""Other estimates of a covariance than that of the sample: as features whose sample covariance they are.

So every layer that pools covariances takes them, on every route and with its own gradient. Means over positions stay what they
are, but for `standardise`, which divides them too.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from gcp_repro.linalg.matrices import trace

__all__ = ["SHRINKAGES", "ledoit_wolf", "oas", "shrink", "standardise"]


def _positive_root(values: Tensor) -> Tensor:
    """The square root, with value and slope 0 at 0 and below."""
    positive = values > 0
    return torch.where(positive, torch.where(positive, values, 1.0).sqrt(), 0.0)


def standardise(features: Tensor) -> Tensor:
    """Features `(B, C, N)` divided by the standard deviation of their channel: their covariance is the correlation matrix.

    A channel that is constant, to the rounding of its mean, has no correlations: it becomes its mean, so its row is 0.
    """
    mean = features.mean(-1, keepdim=True)
    variance = (features - mean).square().mean(-1, keepdim=True)
    noise = (torch.finfo(features.dtype).eps * features.shape[-1] * mean.detach()).square()
    constant = variance.detach() <= noise
    return torch.where(constant, mean, features / torch.where(constant, 1.0, variance).sqrt())


def ledoit_wolf(centered: Tensor) -> Tensor:
    """The weight of the target `mu I` that Ledoit and Wolf (J. Multivariate Analysis 88, 2004) estimate, `(B, 1, 1)`.

    With `S` the covariance, `d^2 = ||S - mu I||^2` and `b^2 = sum_n ||x_n x_n^T - S||^2 / N^2`, it is `min(b^2, d^2) / d^2`.

    Args:
        centered: `(B, C, N)`, of mean 0 over positions.
    """
    channels, positions = centered.shape[-2:]
    total, square = _moments(centered)
    fourth = centered.square().sum(-2, keepdim=True).square().mean(-1, keepdim=True)
    distance = square - total.square() / channels
    return _share((fourth - square) / positions, distance)


def oas(centered: Tensor) -> Tensor:
    """The weight of the target by the oracle approximating shrinkage of Chen, Wiesel, Eldar and Hero (IEEE TSP 58, 2010, eq. 23).

    `min(1, ((1 - 2 / C) tr(S^2) + tr(S)^2) / ((N + 1 - 2 / C) (tr(S^2) - tr(S)^2 / C)))`, `(B, 1, 1)`.

    Args:
        centered: `(B, C, N)`, of mean 0 over positions.
    """
    channels, positions = centered.shape[-2:]
    total, square = _moments(centered)
    above = (1 - 2 / channels) * square + total.square()
    degrees = max(positions + 1 - 2 / channels, 1)  # 0 for a single number
    return _share(above / degrees, square - total.square() / channels)


SHRINKAGES: dict[str, Callable[[Tensor], Tensor]] = {"ledoit_wolf": ledoit_wolf, "oas": oas}
"""Estimates of the weight by name."""


def _moments(centered: Tensor) -> tuple[Tensor, Tensor]:
    """`tr(S)` and `tr(S^2)`, `(B, 1, 1)`, by the smaller Gram matrix."""
    wide = centered.shape[-1] > centered.shape[-2]
    gram = (centered @ centered.mT if wide else centered.mT @ centered) / centered.shape[-1]
    return trace(gram), gram.square().sum((-2, -1), keepdim=True)


def _share(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, within 0 and 1; 1 where the denominator is 0, as of a multiple of the identity."""
    inside = denominator > numerator
    return torch.where(inside, numerator / torch.where(inside, denominator, 1.0), 1.0).clamp(min=0)


def shrink(features: Tensor, weight: float | Callable[[Tensor], Tensor]) -> Tensor:
    """Features with covariance `(1 - w) S + w mu I`, `S` that of the given ones, `mu` the mean of its diagonal; same means.

    `2 C` pseudo-observations, a step along each channel to either side of the mean, stand for the target, and the others are
    drawn towards the mean.

    Args:
        features: `(B, C, N)`.
        weight: `w`, or how to estimate it from centred features.

    Returns:
        `(B, C, N + 2 C)`.

    Source:
        Ledoit and Wolf, J. Multivariate Analysis 88 (2004), for the target.
    """
    channels, positions = features.shape[-2:]
    total = positions + 2 * channels
    mean = features.mean(-1, keepdim=True)
    centered = features - mean
    w = weight(centered) if callable(weight) else torch.as_tensor(weight, dtype=features.dtype, device=features.device)
    variance = centered.square().sum((-2, -1), keepdim=True) / (channels * positions)
    drawn = mean + _positive_root((1 - w) * (total / positions)) * centered
    step = _positive_root(w * variance * (total / 2))
    aside = step * torch.eye(channels, dtype=features.dtype, device=features.device)
    return torch.cat([drawn, mean + aside, mean - aside], -1)
