"""How far the gradient of the ordinary SVD is from the exact one, by the dimension of the covariance's null space."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import center
from gcp_repro.linalg.gradient_rules import GRADIENT_RULES
from gcp_repro.linalg.machinery.autograd import apply_operator
from gcp_repro.linalg.pooling import PoolingSpec
from gcp_repro.linalg.spectral_function import SPECTRAL_FUNCTIONS

__all__ = [
    "CURVES", "IMAGES", "POSITIONS", "TRACE", "GradientError", "gradient_errors", "gradient_of", "norms", "random_upstream",
    "rectified_noise", "trace_of", "with_trace",
]  # fmt: skip

POSITIONS = 49
"""Of the features, 7 x 7: a covariance has a rank of 48 at most."""
CHANNELS = (32, 52, 56, 64, 80, 96, 128, 192, 256)
IMAGES = 16
"""In a batch of noise."""
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

    Args:
        dtype: "float64" or "float32".
        route: "dense" or "gram".
    """
    return tuple(_gradient_error(channels, dtype, route) for channels in CHANNELS)


def _gradient_error(channels: int, dtype: str, route: str) -> GradientError:
    features = with_trace(rectified_noise(channels, POSITIONS), TRACE)
    upstream = random_upstream(IMAGES, channels)
    exact = gradient_of(_root("float64", "gram"), features, upstream)
    error = norms(gradient_of(_root(dtype, route), features, upstream) - exact) / norms(exact)
    low, middle, high = error.quantile(error.new_tensor([0.0, 0.5, 1.0])).tolist()
    return GradientError(max(0, channels - POSITIONS + 1), middle, low, high)


def _root(dtype: str, route: str) -> Callable[[Tensor], Tensor]:
    """What `mpn_cov` computes."""
    spec = PoolingSpec(SPECTRAL_FUNCTIONS.resolve("sqrt"), GRADIENT_RULES.resolve("svd"), dtype=dtype, route=route)  # type: ignore[arg-type]
    return functools.partial(apply_operator, spec.text)


def rectified_noise(channels: int, positions: int, seed: int = 0) -> Tensor:
    """Features `(IMAGES, C, N)`, float64: ReLU of noise whose channels differ in scale by up to 10."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(IMAGES, channels, positions, generator=generator, dtype=torch.float64).relu()
    return noise * torch.logspace(0, -1, channels, dtype=torch.float64).unsqueeze(-1)


def random_upstream(images: int, channels: int, seed: int = 1) -> Tensor:
    """A gradient with respect to upper triangles, `(images, C (C + 1) / 2)`, float64."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, channels * (channels + 1) // 2, generator=generator, dtype=torch.float64)


def trace_of(features: Tensor) -> Tensor:
    """Trace of the covariance of each image, without the division by the number of positions."""
    return center(features).square().sum((-1, -2))


def with_trace(features: Tensor, trace: float) -> Tensor:
    """The same features, each image scaled to a trace."""
    return features * (trace / trace_of(features)).sqrt()[:, None, None]


def gradient_of(layer: Callable[[Tensor], Tensor], features: Tensor, upstream: Tensor) -> Tensor:
    """Of `sum(upstream * layer(features))` with respect to the features."""
    leaf = features.clone().requires_grad_()
    return torch.autograd.grad(layer(leaf), leaf, upstream)[0]


def norms(gradients: Tensor) -> Tensor:
    """Frobenius norm of each image's."""
    return torch.linalg.vector_norm(gradients.flatten(1), dim=1)  # type: ignore[no-any-return]
