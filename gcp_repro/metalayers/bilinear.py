"""Second moments with a signed square root: bilinear pooling, in full and estimated."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from gcp_repro.linalg.autograd import without_autocast
from gcp_repro.linalg.covariance import upper_triangle
from gcp_repro.linalg.options import AtLeast, checked
from gcp_repro.linalg.precision import widen
from gcp_repro.metalayers.base import MetaLayer

__all__ = ["BilinearPooling", "CompactBilinearPooling", "signed_root_and_normalise"]


def signed_root_and_normalise(pooled: Tensor) -> Tensor:
    """`sign(x) sqrt(|x|)`, then division by the l2 norm (B-CNN, Lin et al., ICCV 2015).

    The slope is unbounded at 0: entries below a share of 1.2e-7 of the row's largest are mapped linearly instead, which changes
    the result by at most 9e-5. Rows may be of any scale.

    Args:
        pooled: `(B, D)`, float64; NaN or infinity in a row makes the whole row NaN.
    """
    largest = pooled.detach().abs().amax(1, keepdim=True)
    shares = pooled / torch.where(largest == 0, 1.0, largest)
    rooted = shares / shares.abs().clamp(min=torch.finfo(torch.float32).eps).sqrt()
    return nn.functional.normalize(rooted, dim=1)


class BilinearPooling(MetaLayer):
    """B-CNN: upper triangle of the second moment `X X^T / N`, signed square root, l2 norm (Lin et al., ICCV 2015)."""

    def output_dim(self, channels: int) -> int:
        return channels * (channels + 1) // 2

    def pool(self, features: Tensor) -> Tensor:
        with without_autocast(features):
            wide = widen(features, torch.float64)
            moment = upper_triangle(wide @ wide.mT / features.shape[-1])
            return signed_root_and_normalise(moment).to(features.dtype)


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
        places, signs = _hashes(self.seed, channels, self.projection_dim)
        return places.to(device), signs.to(device)

    def pool(self, features: Tensor) -> Tensor:
        with without_autocast(features):
            wide = widen(features, torch.float64)
            places, signs = self.hashes(features.shape[1], features.device)
            moment = (wide @ wide.mT / features.shape[-1]) * (signs[0][:, None] * signs[1])
            target = (places[0][:, None] + places[1]) % self.projection_dim
            empty = wide.new_zeros(wide.shape[0], self.projection_dim)
            estimate = empty.index_add(1, target.flatten(), moment.flatten(1))
            return signed_root_and_normalise(estimate).to(features.dtype)


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
def _hashes(seed: int, channels: int, projection_dim: int) -> tuple[Tensor, Tensor]:
    generator = np.random.default_rng((seed, channels))
    places = generator.integers(projection_dim, size=(2, channels))
    signs = generator.choice((-1, 1), size=(2, channels))
    return torch.from_numpy(places), torch.from_numpy(signs)
