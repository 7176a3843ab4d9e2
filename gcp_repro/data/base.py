"""The base of every data module: order, sharding, seeding, resuming and normalisation, each in one place.

A data set says where its images come from (`make_dataset`), what happens to one image (`train_transform`,
`eval_transform`) and four facts (`num_classes`, `in_channels`, `mean`, `std`). Everything else is here and in
`loading`, so that it holds for all of them:

* The order of the samples and every random augmentation depend on `(seed, epoch, row)` and on nothing else: not on
  the number of workers, not on what else draws random numbers, not on where a run was interrupted.
* Under DDP the processes share out each global batch. Every sample is used exactly once an epoch, in training and in
  evaluation: nothing is padded, nothing dropped, and all processes take the same number of steps.
* The training loader's position is part of Lightning's checkpoints, so a run resumes in the middle of an epoch.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from pytorch_lightning import LightningDataModule
from torch import Tensor

from gcp_repro.data.collate import collate
from gcp_repro.data.loading import (
    EpochSampler,
    ImageSource,
    ResumableLoader,
    SeededDataset,
    ShardedBatchSampler,
    Transform,
)
from gcp_repro.errors import OptionError

__all__ = ["EvaluateOn", "ImageDataModule", "ImageSource", "Split", "Transform", "at_least", "check_evaluated", "normalize"]

Split = Literal["train", "val"]
EvaluateOn = Literal["test", "validation"]
Batch = tuple[Tensor, Tensor]


def check_evaluated(name: str, split: EvaluateOn) -> EvaluateOn:
    """The split itself.

    Args:
        name: Of the data set, for the message.
        split: What is to be evaluated.

    Raises:
        OptionError: Neither "test" nor "validation".
    """
    if split not in ("test", "validation"):
        raise OptionError(f"{name} evaluates on 'test' or 'validation'; got split={split!r}: change data.split")
    return split


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Scale images to zero mean and unit deviation a channel.

    Args:
        images: `(B, C, H, W)`, uint8 with levels 0 to 255, or floating with levels 0 to 1; any device.
        mean: C means on the scale 0 to 1.
        std: C deviations on the scale 0 to 1.

    Returns:
        `(B, C, H, W)`, float32 for uint8 and the input's dtype otherwise.

    Example:
        >>> images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        >>> normalize(images, mean=[0.5], std=[0.5]).flatten().tolist()
        [-1.0, 1.0]
    """
    if images.dtype == torch.uint8:
        images = images.float() / 255
    shift, scale = (_by_channel(tuple(values), images.dtype, images.device) for values in (mean, std))
    return (images - shift) / scale


@functools.lru_cache(maxsize=64)
def _by_channel(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """`(C, 1, 1)`, kept: copying it to a GPU for every batch would wait for the GPU."""
    with torch.inference_mode(False):
        return torch.tensor(values, dtype=dtype, device=device).view(-1, 1, 1)


class ImageDataModule(LightningDataModule, ABC):
    """Loaders over one training and one evaluation set of images.

    A subclass sets the class attributes, implements `make_dataset`, and overrides the two transforms where images
    need one. `docs/adding_a_dataset.md` walks through an example.

    Args:
        batch_size: Images a training step, over all processes and accumulated gradients.
        eval_batch_size: Images that each process evaluates at a time; as many as it trains at a time if None.
        num_workers: Processes that load images; 0 loads in the training process. Results do not depend on it.
        seed: Decides order and augmentation.
        pin_memory: Page-locked batches where there is a GPU to copy them to.
        tiny: A generated data set of the same form in place of one that has to be downloaded, to try a configuration
            (`debug=tiny`); embedded data sets stay as they are.

    Raises:
        OptionError: A size below 1, or a negative seed or number of workers.
    """

    name: str
    num_classes: int
    in_channels: int
    mean: Sequence[float]
    std: Sequence[float]
    loader_class: type[ResumableLoader] = ResumableLoader

    def __init__(
        self,
        *,
        batch_size: int = 32,
        eval_batch_size: int | None = None,
        num_workers: int = 0,
        seed: int = 0,
        pin_memory: bool = False,
        tiny: bool = False,
    ) -> None:
        super().__init__()
        self.batch_size = at_least(1, "batch_size", batch_size)
        self.eval_batch_size = None if eval_batch_size is None else at_least(1, "eval_batch_size", eval_batch_size)
        self.num_workers = at_least(0, "num_workers", num_workers)
        self.seed = at_least(0, "seed", seed)
        self.pin_memory = pin_memory
        self.tiny = tiny
        self._sources: dict[Split, ImageSource] = {}

    @abstractmethod
    def make_dataset(self, split: Split) -> ImageSource:
        """The images of "train" or "val" before any transform.

        Raises:
            DataError: Files are missing or damaged; say where they were looked for and how to get them.
        """

    def train_transform(self) -> Transform | None:
        """What happens to a training image, randomness included; None passes the image on."""
        return None

    def eval_transform(self) -> Transform | None:
        """What happens to an evaluation image; None passes the image on."""
        return None

    def collate(self, split: Split) -> Callable[[Sequence[Any]], Any]:
        """What makes a batch of samples."""
        return collate

    def run_record(self) -> dict[str, Any]:
        """What a finished run's record says about its data beyond their name."""
        return {}

    @property
    def class_names(self) -> Sequence[str] | None:
        """Names of the classes by label; None where the data have none."""
        return None

    def fingerprint(self) -> dict[str, Any]:
        """What tells the data that a run was begun with from others, once they are set up: classes and numbers of images."""
        sizes: dict[str, Any] = {f"{split}_images": len(source) for split, source in sorted(self._sources.items())}
        return {"num_classes": self.num_classes, "class_names": list(self.class_names or ()), **sizes}

    def sample_names(self, rows: Sequence[int]) -> list[str]:
        """Names of training images, as far as they have any."""
        name = getattr(self._sources.get("train"), "name", None)
        return [] if name is None else [name(row) for row in rows]

    def setup(self, stage: str) -> None:
        """Open the data sets that a stage ("fit", "validate", "test" or "predict") reads."""
        for split in _splits_of(stage):
            if split not in self._sources:
                self._sources[split] = self.make_dataset(split)

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches of the training set."""
        return self._loader("train")

    def val_dataloader(self) -> ResumableLoader:
        """Batches of the evaluation set, in its order."""
        return self._loader("val")

    def test_dataloader(self) -> ResumableLoader:
        """The same as `val_dataloader`: the paper's errors are those of the set it evaluates after every epoch."""
        return self._loader("val")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise on the device, so that only bytes travel to it."""
        images, labels = batch
        return normalize(images, self.mean, self.std), labels

    def _loader(self, split: Split) -> ResumableLoader:
        """The one place where loaders are made."""
        training = split == "train"
        source = self._sources[split]
        sampler = EpochSampler(len(source), seed=self.seed, shuffle=training)
        if self.trainer is not None:
            sampler.set_epoch(self.trainer.current_epoch)  # before workers prefetch: Lightning sets it only after that
        transform = self.train_transform() if training else self.eval_transform()
        return self.loader_class(
            SeededDataset(source, transform, seed=self.seed),
            self._batches(sampler, training),
            collate_fn=self.collate(split),
            num_workers=self.num_workers,
            pin_memory=self.pin_memory and torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),  # worker seeds must not draw from the global generator
        )

    def _batches(self, sampler: EpochSampler, training: bool) -> ShardedBatchSampler:
        """This process's share of each step; in evaluation a step is what all processes take at a time."""
        rank, world_size, passes = 0, 1, 1
        if self.trainer is not None:
            rank, world_size, passes = self.trainer.global_rank, self.trainer.world_size, self.trainer.accumulate_grad_batches
        if training:
            return ShardedBatchSampler(sampler, self.batch_size, rank=rank, world_size=world_size, passes=passes)
        local = self.eval_batch_size or self.batch_size // (world_size * passes)
        return ShardedBatchSampler(sampler, local * world_size, rank=rank, world_size=world_size)


def _splits_of(stage: str) -> tuple[Split, ...]:
    return ("train", "val") if stage == "fit" else ("val",)


def at_least(least: int, name: str, value: int) -> int:
    """The value of an option of the data itself.

    Raises:
        OptionError: "batch_size needs a whole number of at least 1; got 0: change data.batch_size"
    """
    if value < least:
        raise OptionError(f"{name} needs a whole number of at least {least}; got {value}: change data.{name}")
    return value
