"""What training may do to images beyond the paper: RandAugment, random erasing, mixup and cutmix, all torchvision's, all off."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from gcp_repro.data.loading import Transform
from gcp_repro.errors import OptionError, UnknownNameError

__all__ = ["MIXES", "Augmentation"]

MIXES: dict[str, Callable[[Any, int], list[v2.Transform]]] = {
    "none": lambda alpha, classes: [],
    "mixup": lambda alpha, classes: [v2.MixUp(alpha=alpha, num_classes=classes)],
    "cutmix": lambda alpha, classes: [v2.CutMix(alpha=alpha, num_classes=classes)],
    "both": lambda alpha, classes: [v2.RandomChoice([mix(alpha=alpha, num_classes=classes) for mix in (v2.MixUp, v2.CutMix)])],
}
"""Ways of mixing pairs of images of a batch, with their labels in the same shares."""


@dataclass(frozen=True)
class Augmentation:
    """Options of training images; the defaults do nothing.

    Args:
        rand_augment: Magnitude of RandAugment, 1 to 30 (9 is usual); 0 leaves it out. Two operations an image.
        random_erasing: Probability that a rectangle of an image becomes black.
        mix: A name in `MIXES`.
        mix_alpha: Parameter of the Beta distribution of the shares; 1 makes all shares alike likely.

    Raises:
        OptionError: A number out of range.
        UnknownNameError: Another way of mixing.
    """

    rand_augment: int = 0
    random_erasing: float = 0.0
    mix: str = "none"
    mix_alpha: float = 1.0

    def __post_init__(self) -> None:
        if self.mix not in MIXES:
            raise UnknownNameError("way data.augmentation.mix", self.mix, MIXES)
        if not 0 <= self.rand_augment <= 30 or not 0 <= self.random_erasing <= 1 or not self.mix_alpha > 0:
            raise OptionError(
                "data.augmentation needs rand_augment from 0 to 30, random_erasing from 0 to 1 and a positive mix_alpha; got "
                f"{self.rand_augment}, {self.random_erasing} and {self.mix_alpha}: change them"
            )

    def after(self, transform: Transform) -> Transform:
        """The transform of a training image `(C, H, W)`, uint8, followed by what is switched on; draws from torch's generator."""
        steps: list[Transform] = [transform]
        if self.rand_augment:
            steps.append(v2.RandAugment(num_ops=2, magnitude=self.rand_augment))
        if self.random_erasing:
            steps.append(v2.RandomErasing(self.random_erasing))
        composed: Transform = v2.Compose(steps) if len(steps) > 1 else transform
        return composed

    def mixed(self, images: Tensor, labels: Tensor, num_classes: int, key: Sequence[int]) -> tuple[Tensor, Tensor]:
        """A batch in which each image is mixed with the one before it.

        Args:
            images: `(B, C, H, W)`, floating.
            labels: `(B,)`, int64.
            num_classes: Classes.
            key: Seed, epoch, batch and process, which alone decide the shares.

        Returns:
            Images as they came, and labels `(B, num_classes)`, the share of each class; both unchanged with "none".
        """
        steps = MIXES[self.mix](self.mix_alpha, num_classes)
        if not steps:
            return images, labels
        (seed,) = np.random.SeedSequence(tuple(key)).generate_state(1, np.uint64).tolist()
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            mixed, shares = steps[0](images, labels)
        return mixed, shares
