"""scikit-learn's handwritten digits: 1,797 grey images of 8x8 pixels that come inside its wheel."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset

from gcp_repro.data.base import EvaluateOn, ImageDataModule, ImageSource, Split, at_least, check_evaluated
from gcp_repro.data.label_noise import check_label_noise, with_label_noise
from gcp_repro.errors import OptionError

__all__ = ["DigitsDataModule", "digits_indices"]

TRAIN_CANDIDATES = 900  # the first 900 images; the other 897 are the test set
HIGHEST_LEVEL = 16.0


class DigitsDataModule(ImageDataModule):
    """Digits from few examples: 300 images for training, 897 for the test.

    Args:
        train_size: Training images, drawn from the first 900 with equal shares of the classes.
        split: What is evaluated: "test", the last 897 images, or "validation", the candidates left
            over from training, on which hyperparameters are chosen.
        split_seed: Decides which candidates are used for training; separate from `seed`, so that runs differ in
            initialisation and order but not in their data.
        label_noise: Share of the training labels that are replaced by another class; `split_seed` decides which.
        **options: See `ImageDataModule`.

    Raises:
        OptionError: A size that leaves no image for a class, a share of labels outside [0, 1], or an unknown split.

    Source:
        Alpaydin, Kaynak: Optical recognition of handwritten digits, UCI Machine Learning Repository, 1998 (CC BY
        4.0); scikit-learn ships its test set.
    """

    name = "digits"
    num_classes = 10
    in_channels = 1
    mean = (0.3076,)  # of the 900 training candidates
    std = (0.3773,)

    def __init__(
        self, *, train_size: int = 300, split: EvaluateOn = "test", split_seed: int = 0, label_noise: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        if not self.num_classes <= train_size <= TRAIN_CANDIDATES - self.num_classes:
            raise OptionError(
                f"digits needs between {self.num_classes} and {TRAIN_CANDIDATES - self.num_classes} training images; "
                f"got train_size={train_size}: choose another data.train_size"
            )
        self.train_size = train_size
        self.split = check_evaluated(self.name, split)
        self.split_seed = at_least(0, "split_seed", split_seed)
        self.label_noise = check_label_noise(label_noise)

    def make_dataset(self, split: Split) -> ImageSource:
        """Images `(1, 8, 8)`, float32 from 0 to 1, with their digits."""
        images, labels = load_digits(return_X_y=True)
        subset = digits_indices(labels, self.train_size, self.split_seed)["train" if split == "train" else self.split]
        images = images[subset].reshape(-1, 1, 8, 8).astype(np.float32) / HIGHEST_LEVEL
        labels = labels[subset]
        if split == "train":
            labels = with_label_noise(labels, self.label_noise, self.num_classes, self.split_seed)
        return TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))


def digits_indices(labels: np.ndarray, train_size: int, split_seed: int) -> dict[str, np.ndarray]:
    """Rows of the data set that belong to "train", "validation" and "test", each ascending.

    Args:
        labels: Integers `(1797,)`.
        train_size: Rows in "train", drawn from the first 900 with the classes in equal proportion.
        split_seed: Decides which.
    """
    candidates = np.arange(TRAIN_CANDIDATES)
    train, validation = train_test_split(
        candidates, train_size=train_size, stratify=labels[:TRAIN_CANDIDATES], random_state=split_seed
    )
    test = np.arange(TRAIN_CANDIDATES, len(labels))
    return {"train": np.sort(train), "validation": np.sort(validation), "test": test}
