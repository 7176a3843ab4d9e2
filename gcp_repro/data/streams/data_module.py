"""ImageNet as a stream of remote shards, for machines without a shared file system.

Each shard is indexed once (`index`), so all that holds for images in files holds here: order and augmentation follow from
seed and epoch whatever the number of workers, each image is used once an epoch over all processes, in training and in
evaluation, and a run resumes in mid-epoch. What differs is the order of training, which mixes neighbouring shards instead of
all images (`stream_order`), and that the main process reads while its workers decode (`fetch`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from gcp_repro.data.base import Split
from gcp_repro.data.encoded_images import ON_ERROR, EncodedImages, OnError
from gcp_repro.data.image_files import ImageFilesDataModule
from gcp_repro.data.image_set import ImageSet, Samples, listing, report_partial, select_subset
from gcp_repro.data.streams.formats import FORMATS, expand_urls
from gcp_repro.data.streams.index import Shard, default_index_dir, index_shards
from gcp_repro.data.streams.loading import ShardStorage, StreamLoader
from gcp_repro.errors import DataError, OptionError, UnknownNameError

__all__ = ["StreamDataModule"]


class StreamDataModule(ImageFilesDataModule):
    """ImageNet, or a set of the same form, from remote shards.

    Args:
        format: "webdataset" or "parquet".
        train_urls: Shards of the training set: a pattern with `{0000..1023}`, or a list.
        val_urls: The same of the evaluation set.
        num_classes: Classes of the shards, whose labels go from 0 to one less.
        train_images: Images that the training shards should hold; any number if None.
        val_images: The same of the evaluation set.
        shuffle_buffer: About how many images each process holds back to shuffle them.
        readers: Shards that each process reads at the same time; results do not depend on it.
        index_dir: Where the indices of shards are kept; in the user's cache if None.
        **options: See `ImageFilesDataModule`; `dataset`, `root` and `layout` have no meaning here.

    Raises:
        UnknownNameError: An unknown format, transform or policy.
        OptionError: No shards, one shard twice, or a size below 1.
        DataError: A shard cannot be read, or the shards hold other numbers of images or labels. Raised before training.
    """

    loader_class = StreamLoader

    def __init__(
        self,
        format: str,
        train_urls: str | Sequence[str],
        val_urls: str | Sequence[str],
        *,
        num_classes: int = 1000,
        train_images: int | None = 1_281_167,
        val_images: int | None = 50_000,
        shuffle_buffer: int = 8192,
        readers: int = 8,
        on_error: OnError = "raise",
        **options: Any,
    ) -> None:
        super().__init__("imagenet", root="", on_error=on_error, **options)
        if format not in FORMATS:
            raise UnknownNameError("format of shards", format, FORMATS)
        if on_error not in ON_ERROR:
            raise UnknownNameError("policy data.on_error", on_error, ON_ERROR)
        if shuffle_buffer < 1:
            raise OptionError(f"data.shuffle_buffer needs at least 1 image; got {shuffle_buffer}: 1000 or more shuffle well")
        if readers < 1:
            raise OptionError(f"data.readers needs at least 1 shard at a time; got {readers}: 8 hide the delays of most networks")
        self.form = FORMATS[format]
        self.urls: dict[Split, list[str]] = {"train": expand_urls(train_urls), "val": expand_urls(val_urls)}
        self._check_urls()
        self.shard_classes = tuple(map(str, range(num_classes)))
        self.expected: dict[Split, int | None] = {"train": train_images, "val": val_images}
        self.shuffle_buffer = shuffle_buffer
        self.readers = readers

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Classes of the shards, or of the part of them that was asked for."""
        return len(self.class_names)

    @property
    def class_names(self) -> Sequence[str]:
        """Their numbers as texts: shards hold no names."""
        return self._select(ImageSet([], [], self.shard_classes, self._storage([]))).classes

    def make_dataset(self, split: Split) -> EncodedImages:
        """The images of a split, whose shards are indexed at their first use.

        Raises:
            DataError: A shard cannot be read, or the shards hold other numbers of images or labels than they should.
        """
        rank, world_size = (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)
        folder = self.open_options.index_dir or default_index_dir()
        storage = self._storage(
            index_shards(self.urls[split], self.form, folder, readers=self.readers, rank=rank, world_size=world_size)
        )
        samples = storage.samples()
        self._check(split, samples, storage)
        parts: dict[Split, Samples] = {"train": [], "val": [], split: samples}
        return EncodedImages(
            self._select(ImageSet(**parts, classes=self.shard_classes, storage=storage)).split(split),
            storage,
            on_error=self.on_error,
            blank=split == "val",
            exif_orientation=self.exif_orientation,
            reduce_to=self.recipe.longest_side if self.reduced_decode else None,
        )

    def run_record(self) -> dict[str, Any]:
        """Images in use and images that could not be read, by split."""
        record: dict[str, Any] = {}
        for split, source in self._sources.items():
            record[f"{split}_images"] = len(source)
            record[f"unreadable_{split}_images"] = len(source.unreadable())
        return record

    def _storage(self, shards: Sequence[Shard]) -> ShardStorage:
        return ShardStorage(shards, self.form, readers=self.readers, shuffle_buffer=self.shuffle_buffer)

    def _select(self, image_set: ImageSet) -> ImageSet:
        return select_subset(image_set, **self.subset)  # type: ignore[arg-type]

    def _check_urls(self) -> None:
        for split, urls in self.urls.items():
            if not urls:
                raise OptionError(
                    f"data.{split}_urls needs at least one shard; got none: name all shards, as in train-{{0000..1023}}.tar"
                )
        both = [*self.urls["train"], *self.urls["val"]]
        twice = [url for url, times in Counter(both).items() if times > 1]
        if twice:
            raise OptionError(
                f"data.train_urls and data.val_urls need each shard once; named twice: {listing(twice)}: remove the repetition, "
                "errors on images that were trained on would mean nothing"
            )

    def _check(self, split: Split, samples: Samples, storage: ShardStorage) -> None:
        """Refuse labels that are none; report a number of images that is not the one expected."""
        classes = len(self.shard_classes)
        wrong = [f"{storage.locate(name)} (label {label})" for name, label in samples if not 0 <= label < classes]
        if wrong:
            raise DataError(
                f"data.{split}_urls needs labels from 0 to {classes - 1}; out of range: {listing(wrong)}: "
                "set data.num_classes, or write the shards anew"
            )
        expected = self.expected[split]
        if expected is not None and len(samples) != expected:
            report_partial(
                f"data.{split}_urls holds {len(samples):,} images in {len(storage.shards):,} shards instead of {expected:,}",
                f"name all shards, or set data.{split}_images to what they hold",
                allow_partial=self.open_options.allow_partial,
            )
