"""The data module of every data set that consists of image files: ImageNet, the fine-grained sets, anyone's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import distributed
from torch.utils.data import default_collate

from gcp_repro.data.base import Batch, ImageDataModule, Split
from gcp_repro.data.catalog import OpenOptions, open_image_set
from gcp_repro.data.encoded_images import EncodedImages, OnError, ReportingLoader, UnlessSkipped, drop_skipped
from gcp_repro.data.image_set import ImageSet, listing, select_subset
from gcp_repro.data.loading import Transform
from gcp_repro.data.tiny import tiny_root
from gcp_repro.data.transforms import build_eval_transform, build_train_transform, find_recipe

__all__ = ["ImageFilesDataModule"]

log = logging.getLogger(__name__)

TINY_SIDE = 112  # pixels: a fourth of the arithmetic of 224, a sixteenth of that of 448


class ImageFilesDataModule(ImageDataModule):
    """Images in files or archives, in any layout of the catalogue.

    Args:
        dataset: "imagenet", "birds", "dogs", "cars", "aircraft" or "image_folder"; see `CATALOG`.
        root: The folder that holds it, or one of its usual folders.
        layout: The form it has there; "auto" looks.
        transform: "paper" or "reference"; see `RECIPES`.
        image_size: Side of the network's input in pixels, other sizes in proportion; the recipe's own if None (112 with
            `tiny`).
        eval_views: "center", "flip" or "ten": the views whose logits are averaged.
        allow_partial: Warn about missing images and unexpected counts instead of raising.
        on_error: "raise", or "skip" files that are no readable images: training leaves them out, evaluation
            keeps them as black images, and both count them in the run's record.
        classes: Names of the classes to keep, or how many to draw; all if None.
        fraction: Share of the training images to keep.
        subset_seed: Decides what the two options above draw.
        exif_orientation: Turn images upright as their EXIF tags say.
        reduced_decode: Decode large JPEGs at a fraction of their size. Faster, and not the same pixels.
        channels_last: Memory format of the batches on the device.
        index_dir: Where indices of archives are kept; beside them if None.
        name: What results call the data; `dataset` if None.
        **options: See `ImageDataModule`.

    Raises:
        UnknownNameError: A data set, layout, transform, view or policy that does not exist.
        DataError: See `open_image_set`. Raised when the classes are first counted, before training.
    """

    in_channels = 3
    mean = (0.485, 0.456, 0.406)
    std = (0.229, 0.224, 0.225)
    loader_class = ReportingLoader
    _sources: dict[Split, EncodedImages]  # type: ignore[assignment]

    def __init__(
        self,
        dataset: str,
        root: str,
        *,
        layout: str = "auto",
        transform: str = "reference",
        image_size: int | None = None,
        eval_views: str = "center",
        allow_partial: bool = False,
        on_error: OnError = "raise",
        classes: int | Sequence[str] | None = None,
        fraction: float = 1.0,
        subset_seed: int = 0,
        exif_orientation: bool = True,
        reduced_decode: bool = False,
        channels_last: bool = True,
        index_dir: str | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.name = name or dataset
        self.dataset = dataset
        self.root = tiny_root(dataset) if self.tiny else Path(root).expanduser()
        self.layout = layout
        self.recipe = find_recipe(transform, dataset, image_size)
        if self.tiny and image_size is None:
            self.recipe = self.recipe.scaled(TINY_SIDE)
        self._eval_transform = build_eval_transform(self.recipe, eval_views)
        self.open_options = OpenOptions(allow_partial or self.tiny, None if index_dir is None else Path(index_dir).expanduser())
        self.subset = {"classes": classes, "fraction": fraction, "seed": subset_seed}
        self.on_error = on_error
        self.exif_orientation = exif_orientation
        self.reduced_decode = reduced_decode
        self.channels_last = channels_last

    @cached_property
    def image_set(self) -> ImageSet:
        """The checked lists of images; read once, at first use."""
        whole = open_image_set(self.dataset, self.root, self.layout, self.open_options)
        return select_subset(whole, **self.subset)  # type: ignore[arg-type]

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Classes of the data set, or of the part of it that was asked for."""
        return len(self.image_set.classes)

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes by label."""
        return self.image_set.classes

    def make_dataset(self, split: Split) -> EncodedImages:
        """The images of a split, decoded when asked for."""
        return EncodedImages(
            self.image_set.split(split),
            self.image_set.storage,
            on_error=self.on_error,
            blank=split == "val",
            exif_orientation=self.exif_orientation,
            reduce_to=self.recipe.longest_side if self.reduced_decode else None,
        )

    def train_transform(self) -> Transform:
        """Crop and flip of the recipe."""
        return UnlessSkipped(build_train_transform(self.recipe))

    def eval_transform(self) -> Transform:
        """Resize and views of the recipe."""
        return self._eval_transform

    def collate(self, split: Split) -> Callable[[list[Any]], Any]:
        """Training leaves skipped images out."""
        return drop_skipped if split == "train" else default_collate

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise on the device; several views stay one more dimension, `(B, views, 3, H, W)`."""
        images, labels = super().on_after_batch_transfer(batch, dataloader_idx)
        if self.channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, labels

    def run_record(self) -> dict[str, Any]:
        """Images in use and files that could not be read, by split."""
        record: dict[str, Any] = {}
        for split in ("train", "val"):
            record[f"{split}_images"] = len(self.image_set.split(split))
            record[f"unreadable_{split}_images"] = len(self._unreadable(split))
        return record

    def teardown(self, stage: str) -> None:
        """Gather what all processes could not read, and say how many files that is."""
        for split, source in self._sources.items():
            if self.trainer is not None and distributed.is_available() and distributed.is_initialized():
                source.gather_unreadable(self.trainer.strategy.root_device)
            files = source.unreadable()
            if files:
                treatment = "left out of training" if split == "train" else "evaluated as black images, so they count as errors"
                log.warning(
                    "%d of %d %s files could not be read and were %s: %s",
                    len(files),
                    len(source),
                    split,
                    treatment,
                    listing(files),
                )

    def state_dict(self) -> dict[str, Any]:
        """Rows of the files that could not be read, so that a resumed run still counts them."""
        return {split: source.unreadable_rows() for split, source in self._sources.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows up again."""
        for split, rows in state_dict.items():
            if split in self._sources:
                self._sources[split].mark_unreadable(rows)

    def _unreadable(self, split: Split) -> list[str]:
        return self._sources[split].unreadable() if split in self._sources else []
