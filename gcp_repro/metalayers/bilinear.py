"""Second moments with a signed square root: bilinear pooling, in full and estimated."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from gcp_repro.linalg.covariance import upper_triangle
from gcp_repro.linalg.machinery.caches import constant_while_tracing, keep_tensors
from gcp_repro.linalg.machinery.modes import in_own_precision
from gcp_repro.linalg.machinery.options import AtLeast, checked
from gcp_repro.linalg.signed_root import second_moment, signed_root_and_normalise
from gcp_repro.metalayers.base import MetaLayer

__all__ = ["BilinearPooling", "CompactBilinearPooling"]


class BilinearPooling(MetaLayer):
    """B-CNN: upper triangle of the second moment `X X^T / N`, signed square root, l2 norm (Lin et al., ICCV 2015)."""

    def output_dim(self, channels: int) -> int:
        return channels * (channels + 1) // 2

    def pool(self, features: Tensor) -> Tensor:
        with in_own_precision(features):
            return signed_root_and_normalise(upper_triangle(second_moment(features)), features.dtype)


class CompactBilinearPooling(MetaLayer):
    """Compact bilinear pooling: an estimate of bilinear pooling in `projection_dim` numbers (Gao et al., CVPR 2016).

    Tensor Sketch: every channel is hashed to a place and a sign, twice; entry `(i, j)` of the second moment is added, with
    the product of the signs, at the sum of the places modulo `projection_dim`. This is the mean over positions of the
    circular convolution of the two sketches, without a Fourier transform per position. The hashes come from a generator of
    the layer's own, seeded by `seed` and the number of channels, so they are the same in every process and touch no global
    random state.

    Args:
        projection_dim: Length of the output.
        seed: Of the hash functions.

    Raises:
        OptionError: A value out of range.
    """

    @checked
    def __init__(self, projection_dim: Annotated[int, AtLeast(1)] = 8192, seed: Annotated[int, AtLeast(0)] = 0) -> None:
        super().__init__()
        self.projection_dim, self.seed = projection_dim, seed

    def extra_repr(self) -> str:
        return f"projection_dim={self.projection_dim}, seed={self.seed}"

    def output_dim(self, channels: int) -> int:
        return self.projection_dim

    def computes(self) -> Mapping[str, Any]:
        return {"projection_dim": self.projection_dim, "seed": self.seed}

    def hashes(self, channels: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Places `(2, C)` in `[0, projection_dim)` and signs `(2, C)` of the two sketches."""
        return _hashes(self.seed, operator.index(channels), self.projection_dim, device)

    def pool(self, features: Tensor) -> Tensor:
        with in_own_precision(features):
            places, signs = self.hashes(features.shape[1], features.device)
            moment = second_moment(features) * (signs[0][:, None] * signs[1])
            target = (places[0][:, None] + places[1]) % self.projection_dim
            empty = moment.new_zeros(moment.shape[0], self.projection_dim)
            targets = target.flatten().expand(moment.shape[0], -1)  # index_add would keep the moment for the backward
            return signed_root_and_normalise(empty.scatter_add(1, targets, moment.flatten(1)), features.dtype)


@constant_while_tracing
@keep_tensors(maxsize=64)
def _hashes(seed: int, channels: int, projection_dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng((seed, channels))
    places = generator.integers(projection_dim, size=(2, channels))
    signs = generator.choice((-1, 1), size=(2, channels))
    return torch.tensor(places, device=device), torch.tensor(signs, device=device)
