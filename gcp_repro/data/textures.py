"""Which photograph is this patch from? Grey patches of photographs inside the scikit-image and scikit-learn wheels.

Each photograph is one class. It is covered with square blocks, separated by a margin, that belong to training or to the
test like the fields of a chessboard; patches are cut inside blocks, so no pixel is shared. Every patch has mean 0 and
deviation 1, so neither brightness nor contrast nor colour gives its class away. `docs/embedded_data.md` has the sources.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from torch.utils.data import TensorDataset

from gcp_repro.data.base import EvaluateOn, ImageDataModule, ImageSource, Split, at_least, check_evaluated
from gcp_repro.errors import DataError, OptionError

__all__ = ["PHOTOGRAPHS", "TexturesDataModule", "blocks", "cut", "patch_corners", "read_photograph"]

PHOTOGRAPHS = (
    "skimage/data/astronaut.png",
    "skimage/data/brick.png",
    "skimage/data/camera.png",
    "skimage/data/cell.png",
    "skimage/data/chelsea.png",
    "skimage/data/coffee.png",
    "skimage/data/coins.png",
    "skimage/data/grass.png",
    "skimage/data/gravel.png",
    "skimage/data/hubble_deep_field.jpg",
    "skimage/data/ihc.png",
    "skimage/data/moon.png",
    "skimage/data/motorcycle_left.png",
    "skimage/data/page.png",
    "skimage/data/retina.jpg",
    "skimage/data/rocket.jpg",
    "skimage/data/text.png",
    "sklearn/datasets/images/china.jpg",
    "sklearn/datasets/images/flower.jpg",
)
"""Files inside the two wheels, by package; the position is the class. All give `MIN_PATCHES` for training and for the test."""

PATCH, STRIDE = 32, 8  # pixels
BLOCK, MARGIN = 64, 16  # pixels
MIN_STD = 0.02  # of the grey levels from 0 to 1 in a patch; below it there is nothing to see but noise
MIN_PATCHES = 100

Part = Literal["train", "validation", "test"]
Levels = NDArray[np.float32]
Corners = NDArray[np.int64]


class TexturesDataModule(ImageDataModule):
    """Patches `(1, 32, 32)` from 19 photographs.

    Args:
        train_patches: Training patches a class.
        eval_patches: Evaluation patches a class.
        split: What is evaluated: "test", the test blocks after training on all others; or "validation", a half of the
            training blocks after training on the other half, on which hyperparameters are chosen.
        split_seed: Decides which patches of a block are used; separate from `seed`, so that runs differ in
            initialisation and order but not in their data.
        **options: See `ImageDataModule`.

    Raises:
        OptionError: Fewer than one patch a class or more than there are, or an unknown split.
    """

    name = "textures"
    num_classes = len(PHOTOGRAPHS)
    in_channels = 1
    mean = (0.0,)  # patches are normalised one by one
    std = (1.0,)

    def __init__(
        self,
        *,
        train_patches: int = 100,
        eval_patches: int = 100,
        split: EvaluateOn = "test",
        split_seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        for option, value in {"train_patches": train_patches, "eval_patches": eval_patches}.items():
            if not 1 <= value <= MIN_PATCHES:
                raise OptionError(
                    f"textures needs 1 to {MIN_PATCHES} patches a class, which each has; got {option}={value}: "
                    f"change data.{option}"
                )
        check_evaluated(self.name, split)
        self.patches = {"train": train_patches, "val": eval_patches}
        self.parts: dict[Split, set[Part]] = {
            "train": {"train", "validation"} if split == "test" else {"train"},
            "val": {split},
        }
        self.split_seed = at_least(0, "split_seed", split_seed)

    def make_dataset(self, split: Split) -> ImageSource:
        """Patches of mean 0 and deviation 1, float32, with the numbers of their photographs."""
        patches: list[Levels] = []
        labels: list[int] = []
        for label, file in enumerate(PHOTOGRAPHS):
            image = read_photograph(file)
            corners = patch_corners(image, self.parts[split])
            chosen = self._choose(corners, self.patches[split], (self.split_seed, label))
            patches.append(cut(image, chosen))
            labels += [label] * len(chosen)
        return TensorDataset(torch.from_numpy(np.concatenate(patches)[:, None]), torch.tensor(labels))

    @staticmethod
    def _choose(corners: Corners, count: int, seed: tuple[int, int]) -> Corners:
        """At most `count` of the corners, drawn without repetition and kept in order."""
        chosen = np.random.default_rng(seed).permutation(len(corners))[:count]
        return corners[np.sort(chosen)]


def read_photograph(file: str) -> Levels:
    """Grey levels `(H, W)` from 0 to 1 of a file of `PHOTOGRAPHS`.

    Raises:
        DataError: The installed package does not hold the file.
    """
    package, _, inside = file.partition("/")
    spec = find_spec(package)
    path = Path(spec.origin).parent / inside if spec is not None and spec.origin else Path(file)
    if not path.is_file():
        raise DataError(
            f"textures needs the photograph {file}, part of the wheel; there is no {path}: "
            "reinstall scikit-image and scikit-learn with pip"
        )
    with Image.open(path) as image:
        levels: Levels = np.asarray(image.convert("L"), dtype=np.float32) / np.float32(255)
    return levels


def blocks(height: int, width: int) -> Iterator[tuple[Part, int, int]]:
    """The part and the upper left corner of every block of an image.

    Test and training blocks alternate like the fields of a chessboard; training rows alternate between "train" and
    "validation". Blocks of different parts are at least `MARGIN` pixels apart.

    Example:
        >>> [part for part, top, left in blocks(144, 224)]
        ['train', 'test', 'train', 'test', 'validation', 'test']
    """
    period = BLOCK + MARGIN
    for row in range((height + MARGIN) // period):
        for column in range((width + MARGIN) // period):
            training: Part = "validation" if row % 2 else "train"
            yield "test" if (row + column) % 2 else training, row * period, column * period


def patch_corners(image: Levels, parts: set[Part]) -> Corners:
    """Upper left corners `(n, 2)` of all patches in the blocks of `parts` that are not flat.

    Args:
        image: Grey levels `(H, W)` from 0 to 1.
        parts: Which blocks.
    """
    height, width = image.shape
    offsets = range(0, BLOCK - PATCH + 1, STRIDE)
    origins = [(top, left) for part, top, left in blocks(height, width) if part in parts]
    candidates = np.array(
        [(top + y, left + x) for top, left in origins for y in offsets for x in offsets], dtype=np.int64
    ).reshape(-1, 2)
    visible: NDArray[np.bool_] = windows(image, candidates).std(axis=(1, 2), dtype=np.float64) >= MIN_STD
    return candidates[visible]


def windows(image: Levels, corners: Corners) -> Levels:
    """The pixels `(n, 32, 32)` below and right of `corners`."""
    return sliding_window_view(image, (PATCH, PATCH))[corners[:, 0], corners[:, 1]]


def cut(image: Levels, corners: Corners) -> Levels:
    """Patches `(n, 32, 32)` at `corners`, each with mean 0 and deviation 1."""
    patches = windows(image, corners).astype(np.float64)
    patches -= patches.mean(axis=(1, 2), keepdims=True)
    patches /= patches.std(axis=(1, 2), keepdims=True)
    return patches.astype(np.float32)
