"""How far the gradient of the ordinary SVD is from the exact one, by the dimension of the covariance's null space."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg.autograd import apply_operator
from gcp_repro.linalg.covariance import center
from gcp_repro.linalg.gradient_rules import GRADIENT_RULES
from gcp_repro.linalg.pooling import PoolingSpec
from gcp_repro.linalg.spectral_function import SPECTRAL_FUNCTIONS

__all__ = ["CURVES", "POSITIONS", "TRACE", "GradientError", "gradient_errors"]

POSITIONS = 49
"""Of the features, 7 x 7: a covariance has a rank of 48 at most."""
CHANNELS = (32, 52, 56, 64, 80, 96, 128, 192, 256)
IMAGES = 8
TRACE = 60.0
"""Of each covariance; trained networks of the embedded experiment have 40 to 90."""
CURVES = (("float32", "dense"), ("float64", "dense"), ("float32", "gram"))
"""Precisions and routes."""


@dataclass(frozen=True)
class GradientError:
    """Relative error of the gradients of some images.

    Attributes:
        null_space: Dimension of the covariance's null space, `C - N + 1` or 0.
        median: Over images.
        smallest: Of the images.
        largest: Of the images.
    """

    null_space: int
    median: float
    smallest: float
    largest: float


@functools.cache
def gradient_errors(dtype: str, route: str) -> tuple[GradientError, ...]:
    """Error of the gradient of `mpn_cov` against the same layer in float64 on the gram route, which has no null space.

    Features are rectified noise `(8, C, 49)` whose channels differ in scale by up to 10, with a random gradient upstream.

    Args:
        dtype: "float64" or "float32".
        route: "dense" or "gram".
    """
    return tuple(_gradient_error(channels, dtype, route) for channels in CHANNELS)


def _gradient_error(channels: int, dtype: str, route: str) -> GradientError:
    generator = torch.Generator().manual_seed(channels)
    features = torch.randn(IMAGES, channels, POSITIONS, generator=generator, dtype=torch.float64).relu()
    features = features * torch.logspace(0, -1, channels, dtype=torch.float64)[:, None]
    features = features * (TRACE / center(features).square().sum((-1, -2)))[:, None, None].sqrt()
    upstream = torch.randn(IMAGES, channels * (channels + 1) // 2, generator=generator, dtype=torch.float64)
    exact = _gradient(features, upstream, "float64", "gram")
    error = (_gradient(features, upstream, dtype, route) - exact).flatten(1).norm(dim=1) / exact.flatten(1).norm(dim=1)
    low, middle, high = error.quantile(error.new_tensor([0.0, 0.5, 1.0])).tolist()
    return GradientError(max(0, channels - POSITIONS + 1), middle, low, high)


def _gradient(features: Tensor, upstream: Tensor, dtype: str, route: str) -> Tensor:
    spec = PoolingSpec(SPECTRAL_FUNCTIONS.resolve("sqrt"), GRADIENT_RULES.resolve("svd"), dtype=dtype, route=route)  # type: ignore[arg-type]
    leaf = features.clone().requires_grad_()
    return torch.autograd.grad(apply_operator(spec.text, leaf), leaf, upstream)[0]
