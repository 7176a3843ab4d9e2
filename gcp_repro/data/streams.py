"""ImageNet as a stream of remote shards, for machines without a shared file system.

Shards on a local disk need none of this: `ImageFilesDataModule` reads them by index, and exactly. A stream knows
neither its length
nor its order beforehand, so less can be promised:

* One process sees each image once an epoch. Under DDP the shards are shared out, and each process takes the same number of
  steps: one whose shards hold fewer images begins them anew, one with more leaves some for another epoch.
* All processes evaluate all images, so errors are exact.
* Order depends on the number of workers; augmentation depends on seed, epoch and the image's key alone.
* A run that resumes in mid-epoch begins that epoch's data anew.
"""

from __future__ import annotations

import itertools
import logging
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from gcp_repro.data.base import ImageDataModule, Split
from gcp_repro.data.encoded_images import BLANK_SIDE, MAX_WORKERS, ON_ERROR, OnError
from gcp_repro.data.image_files import ImageFilesDataModule
from gcp_repro.data.loading import Transform
from gcp_repro.data.reader import UnreadableImageError, decode_rgb
from gcp_repro.data.stream_formats import FORMATS, Encoded, expand_urls
from gcp_repro.data.transforms import build_eval_transform, build_train_transform, find_recipe
from gcp_repro.errors import OptionError, UnknownNameError

__all__ = ["StreamDataModule", "StreamedImages", "shuffled"]

log = logging.getLogger(__name__)


def shuffled(samples: Iterator[Encoded], size: int, generator: np.random.Generator) -> Iterator[Encoded]:
    """The same samples in an order that is random within about `size` places."""
    buffer = list(itertools.islice(samples, size))
    for sample in samples:
        place = int(generator.integers(len(buffer)))
        buffer[place], sample = sample, buffer[place]
        yield sample
    for place in generator.permutation(len(buffer)):
        yield buffer[place]


@dataclass(frozen=True)
class Share:
    """The part of a stream that one process takes; all of it by default."""

    rank: int = 0
    world_size: int = 1


class StreamedImages(IterableDataset[tuple[Tensor, int]]):
    """Images of shards, decoded and transformed.

    Args:
        urls: Shards.
        read: Reads them, one of `FORMATS`.
        transform: Applied to each image under a seed of its own.
        seed: Seed of the run.
        shuffle_buffer: Images held back to shuffle them; 0 keeps the order.
        on_error: "skip" leaves unreadable images out of training and makes them black in evaluation.
        share: The process's part.
        samples: How many images each epoch takes over all processes, for training under DDP; None takes those there are.
        batch_size: Images a batch; a share in `samples` is rounded down to whole batches.
    """

    def __init__(
        self,
        urls: Sequence[str],
        read: Callable[[Sequence[str]], Iterator[Encoded]],
        transform: Transform,
        *,
        seed: int,
        shuffle_buffer: int,
        on_error: OnError,
        share: Share,
        samples: int | None,
        batch_size: int,
    ) -> None:
        self.urls = urls
        self.read = read
        self.transform = transform
        self.seed = seed
        self.shuffle_buffer = shuffle_buffer
        self.on_error = on_error
        self.share = share
        self.samples = samples
        self.batch_size = batch_size
        self.epoch = 0
        self.skipped = torch.zeros(MAX_WORKERS, dtype=torch.int64).share_memory_()  # type: ignore[no-untyped-call]

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        worker = get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        self.skipped[number] = 0
        images = self._images(self._urls(number, workers), number)
        if self.samples is None:
            yield from images
            return
        count = self.samples // (self.share.world_size * workers * self.batch_size) * self.batch_size
        again = (image for _ in itertools.count() for image in self._images(self._urls(number, workers), number))
        yield from itertools.islice(itertools.chain(images, again), count)

    def _urls(self, worker: int, workers: int) -> list[str]:
        order = np.arange(len(self.urls))
        if self.shuffle_buffer:
            order = np.random.default_rng((self.seed, self.epoch)).permutation(order)
        mine = order[self.share.rank :: self.share.world_size][worker::workers]
        return [self.urls[shard] for shard in mine]

    def _images(self, urls: Sequence[str], worker: int) -> Iterator[tuple[Tensor, int]]:
        samples = self.read(urls) if urls else iter(())
        if self.shuffle_buffer:
            generator = np.random.default_rng((self.seed, self.epoch, self.share.rank, worker))
            samples = shuffled(samples, self.shuffle_buffer, generator)
        for sample in samples:
            try:
                image = decode_rgb(sample.data, sample.key)
            except UnreadableImageError as error:
                if self.on_error == "raise":
                    raise
                log.warning("skipped: %s", error)
                self.skipped[worker] += 1
                if self.shuffle_buffer:
                    continue
                image = torch.zeros(3, BLANK_SIDE, BLANK_SIDE, dtype=torch.uint8)
            (sample_seed,) = np.random.SeedSequence((self.seed, self.epoch, zlib.crc32(sample.key.encode()))).generate_state(
                1, np.uint64
            )
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(int(sample_seed))
                yield self.transform(image), sample.label


class StreamDataModule(ImageDataModule):
    """ImageNet from remote shards.

    Args:
        format: "webdataset" or "parquet".
        train_urls: Shards of the training set: a pattern with `{0000..1023}`, or a list.
        val_urls: The same of the evaluation set.
        num_classes: Classes; a stream cannot be asked.
        train_images: Images of the training set, which set the length of an epoch under DDP.
        transform: "paper" or "reference" of ImageNet; see `RECIPES`.
        image_size: Side of the network's input in pixels; the recipe's own if None.
        eval_views: "center", "flip" or "ten".
        shuffle_buffer: Images that each worker holds back to shuffle them.
        on_error: "raise" or "skip".
        **options: See `ImageDataModule`.

    Raises:
        UnknownNameError: An unknown format, transform or policy.
        OptionError: No shards, or fewer than processes.
    """

    name = "imagenet"
    in_channels = 3
    mean = ImageFilesDataModule.mean
    std = ImageFilesDataModule.std

    def __init__(
        self,
        format: str,
        train_urls: str | Sequence[str],
        val_urls: str | Sequence[str],
        *,
        num_classes: int = 1000,
        train_images: int = 1_281_167,
        transform: str = "reference",
        image_size: int | None = None,
        eval_views: str = "center",
        shuffle_buffer: int = 2000,
        on_error: OnError = "raise",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if format not in FORMATS:
            raise UnknownNameError("format of shards", format, FORMATS)
        if on_error not in ON_ERROR:
            raise UnknownNameError("policy data.on_error", on_error, ON_ERROR)
        if shuffle_buffer < 1:
            raise OptionError(f"data.shuffle_buffer needs at least 1 image; got {shuffle_buffer}: 1000 or more shuffle well")
        self.read = FORMATS[format]
        self.urls: dict[Split, list[str]] = {"train": expand_urls(train_urls), "val": expand_urls(val_urls)}
        self.num_classes = num_classes
        self.train_images = train_images
        self.shuffle_buffer = shuffle_buffer
        self.on_error = on_error
        recipe = find_recipe(transform, "imagenet", image_size)
        self._transforms = {"train": build_train_transform(recipe), "val": build_eval_transform(recipe, eval_views)}
        self._streams: dict[Split, StreamedImages] = {}

    def make_dataset(self, split: Split) -> Any:
        """The stream of a split.

        Raises:
            OptionError: No shards, or fewer than processes.
        """
        share = Share() if self.trainer is None or split == "val" else Share(self.trainer.global_rank, self.trainer.world_size)
        if len(self.urls[split]) < share.world_size or not self.urls[split]:
            raise OptionError(
                f"data.{split}_urls needs at least one shard a process; got {len(self.urls[split])} shards for "
                f"{share.world_size} processes: name all shards, as in train-{{0000..1023}}.tar"
            )
        training = split == "train"
        self._streams[split] = StreamedImages(
            self.urls[split],
            self.read,
            self._transforms[split],
            seed=self.seed,
            shuffle_buffer=self.shuffle_buffer if training else 0,
            on_error=self.on_error,
            share=share,
            samples=self.train_images if training and share.world_size > 1 else None,
            batch_size=self.batch_size if training else self.eval_batch_size,
        )
        return self._streams[split]

    def run_record(self) -> dict[str, Any]:
        """Images skipped in the last epoch of this process, by split."""
        return {f"unreadable_{split}_images": int(stream.skipped.sum()) for split, stream in self._streams.items()}

    def _loader(self, split: Split) -> Any:
        stream = self._streams[split]
        return _EpochLoader(
            stream,
            lambda: 0 if self.trainer is None else self.trainer.current_epoch,
            batch_size=stream.batch_size,
            num_workers=min(self.num_workers, len(stream.urls) // stream.share.world_size),
            pin_memory=self.pin_memory and torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.seed),
        )


class _EpochLoader(DataLoader[Any]):
    """Tells the stream the epoch, each time before its workers start anew.

    Args:
        stream: The images.
        epoch: Gives the epoch, counted from 0.
        **options: See `torch.utils.data.DataLoader`.
    """

    def __init__(self, stream: StreamedImages, epoch: Callable[[], int], **options: Any) -> None:
        super().__init__(stream, **options)
        self._epoch = epoch

    def __iter__(self) -> Any:
        self.dataset.epoch = self._epoch()  # type: ignore[attr-defined]
        return super().__iter__()
