"""The data module of every data set that consists of image files: ImageNet, the fine-grained sets, anyone's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal

import torch
from torch import distributed

from gcp_repro.data.augmentation import Augmentation
from gcp_repro.data.base import Batch, ImageDataModule, Split, at_least
from gcp_repro.data.collate import collate
from gcp_repro.data.device_decoding import EncodedBatch, collate_encoded, decode_batch, with_seed
from gcp_repro.data.encoded_images import ON_ERROR, EncodedImages, OnError, ReportingLoader, UnlessSkipped
from gcp_repro.data.image_set import ImageSet, listing
from gcp_repro.data.loading import Transform
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.subset import class_names, select_subset
from gcp_repro.data.tiny import tiny_root
from gcp_repro.data.transforms import build_eval_transform, build_train_transform, find_recipe
from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.user_paths import user_path

__all__ = ["ImageFilesDataModule"]

log = logging.getLogger(__name__)

DECODE_ON = ("workers", "device")
TINY_SIDE = 112  # pixels: a fourth of the arithmetic of 224, a sixteenth of that of 448


class ImageFilesDataModule(ImageDataModule):
    """Images in files or archives, in any layout of the catalogue.

    Args:
        dataset: A name in `CATALOG`.
        root: The folder that holds it, or one of its usual folders.
        layout: The form it has there; "auto" looks.
        train_split: What the training images are called there, see `OpenOptions`; the usual names if None.
        val_split: The same of the evaluation images.
        path_column: Column of a list or table that holds paths or images; the usual names if None.
        label_column: The same of the labels.
        split_column: Column of a list that marks evaluation images.
        transform: "paper" or "reference"; see `RECIPES`.
        image_size: Side of the network's input in pixels, other sizes in proportion; the recipe's own if None (112 with
            `tiny`).
        eval_views: "center", "flip" or "ten": the views whose logits are averaged.
        allow_partial: Warn about missing images and unexpected counts instead of raising.
        on_error: "raise", or "skip" files that are no readable images: training leaves them out, evaluation
            keeps them as black images, and both count them in the run's record.
        classes: Names of the classes to keep, a file of them, or how many to draw; all if None.
        fraction: Share of the training images to keep.
        subset_seed: Decides what the two options above draw.
        exif_orientation: Turn images upright as their EXIF tags say.
        reduced_decode: Decode large JPEGs at a fraction of their size. Faster, and not the same pixels.
        augmentation: Options of `Augmentation`; nothing if None.
        decode_on: "workers", or "device": JPEGs travel encoded, and are decoded, cropped and flipped where the network is.
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
        train_split: str | Sequence[str] | None = None,
        val_split: str | Sequence[str] | None = None,
        path_column: str | None = None,
        label_column: str | None = None,
        split_column: str | None = None,
        transform: str = "reference",
        image_size: int | None = None,
        eval_views: str = "center",
        allow_partial: bool = False,
        on_error: OnError = "raise",
        classes: int | str | Sequence[object] | None = None,
        fraction: float = 1.0,
        subset_seed: int = 0,
        exif_orientation: bool = True,
        reduced_decode: bool = False,
        augmentation: Mapping[str, Any] | None = None,
        decode_on: Literal["workers", "device"] = "workers",
        channels_last: bool = True,
        index_dir: str | None = None,
        name: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if on_error not in ON_ERROR:
            raise UnknownNameError("policy data.on_error", on_error, ON_ERROR)
        self.name = name or dataset
        self.dataset = dataset
        self.root = tiny_root(dataset) if self.tiny else user_path(root)
        self.layout = layout
        self.recipe = find_recipe(transform, dataset, image_size)
        if self.tiny and image_size is None:
            self.recipe = self.recipe.scaled(TINY_SIDE)
        self.augmentation = Augmentation(**(augmentation or {}))
        self._train_transform = self.augmentation.after(build_train_transform(self.recipe))
        self._eval_transform = build_eval_transform(self.recipe, eval_views)
        kept_in = None if index_dir is None else user_path(index_dir)
        self.open_options = OpenOptions(
            allow_partial=allow_partial,
            index_dir=kept_in,
            train_split=_names(train_split),
            val_split=_names(val_split),
            path_column=path_column,
            label_column=label_column,
            split_column=split_column,
        )
        if self.tiny:  # what the real images are called there says nothing of the generated ones
            self.layout, self.open_options = "auto", OpenOptions(allow_partial=True, index_dir=kept_in)
        names = class_names(classes)  # read once, as the file may be a pipe
        kept = classes if names is None else names
        self.subset = {"classes": kept, "fraction": fraction, "seed": at_least(0, "subset_seed", subset_seed)}
        self.on_error = on_error
        self.exif_orientation = exif_orientation
        self.reduced_decode = reduced_decode
        self.decode_on = _checked_place(decode_on, on_error, reduced_decode)
        self.channels_last = channels_last

    @cached_property
    def image_set(self) -> ImageSet:
        """The checked lists of images; read once, at first use."""
        whole = open_image_set(self.dataset, self.root, self.layout, self.open_options, classes=self.subset["classes"])
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
        return self.encoded(split, self.image_set)

    def encoded(self, split: Split, image_set: ImageSet) -> EncodedImages:
        """The images of a split of a set, read as this module's options say."""
        return EncodedImages(
            image_set.split(split),
            image_set.storage,
            on_error=self.on_error,
            blank=split == "val",
            exif_orientation=self.exif_orientation,
            keep_encoded=self.decode_on == "device",
            reduce_to=self.recipe.longest_side if self.reduced_decode else None,
        )

    def train_transform(self) -> Transform:
        """Crop and flip of the recipe."""
        return with_seed if self.decode_on == "device" else UnlessSkipped(self._train_transform)

    def eval_transform(self) -> Transform:
        """Resize and views of the recipe."""
        return with_seed if self.decode_on == "device" else self._eval_transform

    def collate(self, split: Split) -> Callable[[Sequence[Any]], Any]:
        """Encoded images for the device to decode, or images."""
        return collate_encoded if self.decode_on == "device" else collate

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Normalise on the device; several views stay one more dimension, `(B, views, 3, H, W)`."""
        training = self.trainer is not None and self.trainer.training
        if isinstance(batch[0], EncodedBatch):
            transform = self._train_transform if training else self._eval_transform
            batch = decode_batch(batch[0], transform, batch[1].device), batch[1]
        images, labels = super().on_after_batch_transfer(batch, dataloader_idx)
        if training and self.trainer is not None and self.augmentation.mix != "none":
            step = self.trainer.fit_loop.epoch_loop.batch_progress.current.ready  # batches of this epoch before it
            key = (self.seed, self.trainer.current_epoch, step, self.trainer.global_rank)
            images, labels = self.augmentation.mixed(images, labels, self.num_classes, key)
        if self.channels_last and images.ndim == 4:
            images = images.contiguous(memory_format=torch.channels_last)
        return images, labels

    def fingerprint(self) -> dict[str, Any]:
        """Also by the names and labels of the images, by whose places a run goes on."""
        lists = {f"list_of_{split}_images": source.digest for split, source in sorted(self._sources.items())}
        return super().fingerprint() | lists

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

    def on_exception(self, exception: BaseException) -> None:
        """Name the file that a dead worker was reading, where its death showed outside the loaders, as in a training step."""
        if isinstance(exception, RuntimeError) and self.trainer is not None:
            loaders = (self.trainer.train_dataloader, self.trainer.val_dataloaders)
            for loader in loaders:
                named = loader.death_of_a_worker() if isinstance(loader, ReportingLoader) else None
                if named is not None:
                    log.error("%s", named)
                    exception.args = (str(named),)

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


def _checked_place(place: str, on_error: str, reduced_decode: bool) -> str:
    """Where JPEGs are decoded.

    Raises:
        UnknownNameError: Elsewhere.
        OptionError: The device can neither skip files nor decode them at a smaller scale.
    """
    if place not in DECODE_ON:
        raise UnknownNameError("place data.decode_on", place, DECODE_ON)
    if place == "device" and (on_error == "skip" or reduced_decode):
        raise OptionError(
            f"decoding on the device needs data.on_error=raise and data.reduced_decode=false; got {on_error} and "
            f"{reduced_decode}: change them, or set data.decode_on=workers"
        )
    return place


def _names(split: str | Sequence[str] | None) -> tuple[str, ...]:
    return (split,) if isinstance(split, str) else tuple(split or ())
