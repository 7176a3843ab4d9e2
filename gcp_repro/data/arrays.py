"""Small images that come as arrays: Fashion-MNIST (IDX files), CIFAR-10 and CIFAR-100 (pickled batches)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch.utils.data import TensorDataset
from torchvision import datasets as torchvision_datasets
from torchvision.transforms import v2

from gcp_repro.data.array_files import Arrays, read_cifar10, read_cifar100, read_fashion_mnist
from gcp_repro.data.base import EvaluateOn, ImageDataModule, Split, Transform, at_least, check_evaluated
from gcp_repro.data.image_set import Expected, ImageSet, Samples, check_counts
from gcp_repro.data.label_noise import check_label_noise, with_label_noise
from gcp_repro.data.storage import FolderStorage
from gcp_repro.data.subset import select_subset
from gcp_repro.data.tiny import tiny_root
from gcp_repro.errors import DataError, MissingPathError, OptionError, UnknownNameError
from gcp_repro.user_paths import user_path

__all__ = ["ARRAY_SETS", "ArrayDataModule"]


@dataclass(frozen=True)
class ArraySet:
    """What is known about a data set of arrays.

    Args:
        title: Its name in messages.
        expected: Its published numbers.
        in_channels: Colours.
        mean: Mean of each colour on the scale 0 to 1.
        std: Deviation of each colour.
        subfolders: Where its files may lie below the root.
        marker: A file that shows that they do, without the suffix `.gz`.
        read: Reads a split from that folder.
        download: Torchvision's class that fetches it.
        augment: Whether training crops (after padding by 4 pixels) and mirrors the images.
        advice: How to get it.
        packaged: The folder inside this package that holds it, where it needs no download.
    """

    title: str
    expected: Expected
    in_channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    subfolders: tuple[str, ...]
    marker: str
    read: Callable[[Path, Split], Arrays]
    download: Callable[..., Any]
    augment: bool
    advice: str
    packaged: Path | None = None


_FASHION_MNIST = ArraySet(
    title="Fashion-MNIST",
    expected=Expected(classes=10, train=60_000, val=10_000),
    in_channels=1,
    mean=(0.2860,),
    std=(0.3530,),
    subfolders=("fashion-mnist", "FashionMNIST/raw", "fashion_mnist"),
    marker="train-images-idx3-ubyte",
    read=read_fashion_mnist,
    download=torchvision_datasets.FashionMNIST,
    augment=False,
    advice=(
        "install Debian's package dataset-fashion-mnist and set data.root to the folder that dpkg -L lists, "
        "or set data.download=true"
    ),
)

_CIFAR10 = ArraySet(
    title="CIFAR-10",
    expected=Expected(classes=10, train=50_000, val=10_000),
    in_channels=3,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    subfolders=("cifar-10-batches-py",),
    marker="data_batch_1",
    read=read_cifar10,
    download=torchvision_datasets.CIFAR10,
    augment=True,
    advice="unpack cifar-10-python.tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html there, or set data.download=true",
)

ARRAY_SETS: dict[str, ArraySet] = {
    "fashion_mnist": _FASHION_MNIST,
    "fashion_mnist_small": replace(
        _FASHION_MNIST,
        title="the small Fashion-MNIST",
        expected=Expected(classes=10, train=4_000, val=2_500),
        subfolders=(),
        advice="its files are part of gcp_repro: install that again",
        packaged=Path(__file__).parent / "fashion_mnist_small",
    ),
    "cifar10": _CIFAR10,
    "cifar100": replace(
        _CIFAR10,
        title="CIFAR-100",
        expected=Expected(classes=100, train=50_000, val=10_000),
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        subfolders=("cifar-100-python",),
        marker="train",
        read=read_cifar100,
        download=torchvision_datasets.CIFAR100,
        advice=_CIFAR10.advice.replace("cifar-10-", "cifar-100-"),
    ),
}


class ArrayDataModule(ImageDataModule):
    """Fashion-MNIST, CIFAR-10 or CIFAR-100, held in memory.

    Args:
        dataset: A name in `ARRAY_SETS`.
        root: The folder that holds the files, or one of their usual folders. Sets that come with the package take none.
        download: Let torchvision fetch the files into `root` where they are missing.
        allow_partial: Warn about unexpected numbers of images instead of raising.
        classes: How many classes to draw, numbered anew; all if None.
        fraction: Share of the training images to keep.
        train_size: Number of training images to keep instead, the classes in their proportions; all if None.
        eval_size: Number of images to evaluate on, in the same way; all if None. Of the test images they are the same for
            every `subset_seed`.
        split: What is evaluated: "test", or "validation", training images that `train_size` leaves over, on which
            hyperparameters are chosen.
        label_noise: Share of the training labels that are replaced by another class.
        subset_seed: Decides what the options above draw; separate from `seed`, so that runs can share their data.
        **options: See `ImageDataModule`.

    Raises:
        UnknownNameError: Another data set.
        OptionError: No root where one is needed; a size that the data do not have, or that leaves a class without an image; a
            share of labels outside [0, 1]; an unknown split, or "validation" without images left over.
        DataError: Files are missing or damaged, or hold unexpected numbers of images.
    """

    def __init__(
        self,
        dataset: str,
        root: str | None = None,
        *,
        download: bool = False,
        allow_partial: bool = False,
        classes: int | None = None,
        fraction: float = 1.0,
        train_size: int | None = None,
        eval_size: int | None = None,
        split: EvaluateOn = "test",
        label_noise: float = 0.0,
        subset_seed: int = 0,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if train_size is not None and fraction != 1:
            raise OptionError(f"train_size={train_size} and fraction={fraction} both choose training images: set one of them")
        if split == "validation" and train_size is None:
            raise OptionError("split='validation' needs training images that are left over: set data.train_size")
        if dataset not in ARRAY_SETS:
            raise UnknownNameError("data set", dataset, ARRAY_SETS)
        self.name = dataset
        self.entry = ARRAY_SETS[dataset]
        self.in_channels, self.mean, self.std = self.entry.in_channels, self.entry.mean, self.entry.std
        self.num_classes = self.entry.expected.classes if classes is None else classes
        self.tiny = self.tiny and self.entry.packaged is None
        self.root = self._root(root)
        self.download = download
        self.allow_partial = allow_partial or self.tiny
        self.subset = {"classes": classes, "fraction": fraction, "seed": subset_seed}
        self.train_size, self.eval_size = (None, None) if self.tiny else (train_size, eval_size)
        self.subset_seed = at_least(0, "subset_seed", subset_seed)
        self.split = check_evaluated(self.name, split)
        self.label_noise = check_label_noise(label_noise)

    def prepare_data(self) -> None:
        """Fetch the files where that was asked for; called by one process."""
        if self.download and self._find_folder() is None:
            for train in (True, False):
                self.entry.download(str(self.root), train=train, download=True)

    def make_dataset(self, split: Split) -> TensorDataset:
        """Images `(C, H, W)`, uint8, with their labels."""
        images, labels = self._checked_arrays[split]
        if split == "train":
            labels = with_label_noise(labels, self.label_noise, self.num_classes, self.subset_seed)
        return TensorDataset(torch.from_numpy(images), torch.from_numpy(labels))

    def train_transform(self) -> Transform | None:
        """Nothing for grey images; a random crop after padding, and mirroring, for CIFAR."""
        if not self.entry.augment:
            return None
        transform: Transform = v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip()])
        return transform

    def _root(self, root: str | None) -> Path:
        if self.entry.packaged is not None:
            return self.entry.packaged
        if self.tiny:
            return tiny_root(self.name)
        if root is None:
            raise OptionError(f"{self.entry.title} needs the folder of its files; got none: {self.entry.advice}")
        return user_path(root)

    def _find_folder(self) -> Path | None:
        for place in (self.root, *(self.root / name for name in self.entry.subfolders)):
            if (place / self.entry.marker).is_file() or (place / f"{self.entry.marker}.gz").is_file():
                return place
        return None

    @cached_property
    def _checked_arrays(self) -> dict[Split, Arrays]:
        folder = self._find_folder()
        if folder is None:
            places = ", ".join(str(place) for place in (self.root, *(self.root / name for name in self.entry.subfolders)))
            raise (DataError if self.root.is_dir() else MissingPathError)(
                f"{self.entry.title} needs {self.entry.marker!r}; looked in {places}: {self.entry.advice}"
            )
        arrays: dict[Split, Arrays] = {split: self.entry.read(folder, split) for split in ("train", "val")}
        for split, (images, labels) in arrays.items():
            if len(images) != len(labels) or (
                len(labels) and not 0 <= labels.min() <= labels.max() < self.entry.expected.classes
            ):
                raise DataError(
                    f"{self.entry.title} in {folder} needs a label from 0 to {self.entry.expected.classes - 1} for each "
                    f"{split} image; it has {len(images)} images and {len(labels)} labels up to {labels.max(initial=0)}: "
                    f"{self.entry.advice}"
                )
        selected = self._select_rows(arrays, folder)
        chosen = {split: (arrays[split][0][rows], labels) for split, (rows, labels) in selected.items()}
        train, left_over = self._divide("train", chosen["train"], self.train_size, self.subset_seed)
        if self.split == "validation" and not self.tiny:
            return {"train": train, "val": self._divide("left over", left_over, self.eval_size, self.subset_seed)[0]}
        return {"train": train, "val": self._divide("evaluation", chosen["val"], self.eval_size, 0)[0]}

    def _divide(self, kind: str, arrays: Arrays, size: int | None, seed: int) -> tuple[Arrays, Arrays]:
        """So many images, with the classes in proportion, and the others; both in their old order."""
        images, labels = arrays
        if size is None or size == len(labels):
            return arrays, (images[:0], labels[:0])
        least = len(np.unique(labels))
        if not least <= size <= len(labels) - least:
            option = "train_size" if kind == "train" else "eval_size"
            raise OptionError(
                f"{self.entry.title} has {len(labels):,} {kind} images of {least} classes and can be divided into {least} "
                f"to {len(labels) - least:,}, or all; got {size}: change data.{option}"
            )
        parts = train_test_split(np.arange(len(labels)), train_size=size, stratify=labels, random_state=seed)
        taken, others = (np.sort(rows) for rows in parts)
        return (images[taken], labels[taken]), (images[others], labels[others])

    def _select_rows(self, arrays: dict[Split, Arrays], folder: Path) -> dict[Split, Arrays]:
        """Rows and labels in use, after the same checks and by the same drawing as for files; names are row numbers."""
        samples: dict[Split, Samples] = {
            split: [(str(row), label) for row, label in enumerate(labels.tolist())] for split, (_, labels) in arrays.items()
        }
        classes = tuple(map(str, range(self.entry.expected.classes)))
        whole = ImageSet(samples["train"], samples["val"], classes, FolderStorage(folder))
        title = f"{self.entry.title} in {folder}"
        check_counts(title, whole, self.entry.expected, self.entry.advice, allow_partial=self.allow_partial)
        part = select_subset(whole, **self.subset)  # type: ignore[arg-type]
        return {
            split: (np.array([int(name) for name, _ in part.split(split)]), np.array([label for _, label in part.split(split)]))
            for split in arrays
        }
