"""Order and loading of a stream: as in `gcp_repro.data.loading`, with neighbours from few shards and bytes beside the keys."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from gcp_repro.data.encoded_images import EncodedImages, ReportingLoader
from gcp_repro.data.image_set import Samples
from gcp_repro.data.loading import EpochSampler, SampleKey, SeededDataset, ShardedBatchSampler
from gcp_repro.data.streams.formats import ShardFormat
from gcp_repro.data.streams.index import Shard
from gcp_repro.data.streams.reader import Place, fetch
from gcp_repro.errors import OptionError

__all__ = ["ShardStorage", "StreamLoader", "StreamSampler", "stream_order"]


class ShardStorage:
    """A `Storage` of images in shards; a name is `<number of the shard>/<place in it>`.

    To read one image means to read its shard up to it. So `fetch` brings them in the order of the epoch, and `arrive` keeps the
    one whose turn it is until it is read.

    Args:
        shards: What there is.
        form: How to read it.
        readers: See `fetch`.
        shuffle_buffer: See `stream_order`.
    """

    def __init__(self, shards: Sequence[Shard], form: ShardFormat, *, readers: int, shuffle_buffer: int) -> None:
        self.shards = shards
        self.form = form
        self.readers = readers
        self.shuffle_buffer = shuffle_buffer
        self._arrived: dict[str, bytes] = {}

    def samples(self) -> Samples:
        """Names and labels of all images, in the order of the shards."""
        return [
            (f"{number}/{place}", label)
            for number, shard in enumerate(self.shards)
            for place, label in enumerate(shard.labels.tolist())
        ]

    def names(self, folder: str) -> list[str]:
        """See `Storage`; a folder is a shard's number."""
        return [f"{folder}/{place}" for place in range(len(self.shards[int(folder)]))]

    def folders(self, folder: str) -> list[str]:
        """See `Storage`; shards hold none."""
        return []

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        return self._arrived.pop(name) if name in self._arrived else next(self.fetch([name]))

    def arrive(self, name: str, data: bytes) -> None:
        """Take the image that will be read next."""
        self._arrived = {name: data}

    def locate(self, name: str) -> str:
        """See `Storage`."""
        number, place = self.place(name)
        return f"{self.shards[number].url}: {self.shards[number].key(place)}"

    @staticmethod
    def place(name: str) -> Place:
        """Where the image of a name is."""
        number, _, place = name.partition("/")
        return int(number), int(place)

    def fetch(self, names: Sequence[str]) -> Iterator[bytes]:
        """The images of these names, in this order; see `fetch`."""
        return fetch([self.place(name) for name in names], self.shards, self.form.read, readers=self.readers)


def stream_order(shard_of_row: np.ndarray, *, seed: int, epoch: int, shuffle_buffer: int, world_size: int = 1) -> np.ndarray:
    """The order of an epoch's rows over all processes, of which process r takes every `world_size`-th, from the r-th on.

    The shards are put in a random order; each process gets a contiguous part of their rows, as long as the others' or by one
    shorter, so that it reads its own shards alone (and shares at most two of them with others). Within its part
    a row moves by less than `shuffle_buffer` places. All that depends on `(seed, epoch, shuffle_buffer, world_size)`.

    Args:
        shard_of_row: `(N,)`, int: number of the shard of each row, ascending.
        seed: Seed of the run.
        epoch: Counted from 0.
        shuffle_buffer: About how many images a process reads before their turn; 0 keeps the order of the rows.
        world_size: Number of processes.

    Returns:
        `(N,)`, int64, each row once.

    Example:
        >>> stream_order(np.array([0, 0, 0, 1, 1]), seed=0, epoch=0, shuffle_buffer=0, world_size=2).tolist()
        [0, 3, 1, 4, 2]
    """
    generator = np.random.default_rng((seed, epoch))
    rows = np.arange(len(shard_of_row))
    if shuffle_buffer:
        turn = generator.permutation(int(shard_of_row.max(initial=-1)) + 1)
        rows = np.argsort(turn[shard_of_row], kind="stable")
    order = np.empty_like(rows)
    for rank, part in enumerate(np.array_split(rows, world_size)):
        moved = np.arange(len(part)) + generator.uniform(0, max(shuffle_buffer, 1), len(part))
        order[rank::world_size] = part[np.argsort(moved, kind="stable")]
    return order


class StreamSampler(EpochSampler):
    """An `EpochSampler` in the order of `stream_order`.

    Args:
        shard_of_row: See `stream_order`.
        seed: Seed of the run.
        shuffle_buffer: See `stream_order`.
        world_size: Number of processes.
    """

    def __init__(self, shard_of_row: np.ndarray, *, seed: int, shuffle_buffer: int, world_size: int) -> None:
        super().__init__(len(shard_of_row), seed=seed, shuffle=shuffle_buffer > 0)
        self.shard_of_row = shard_of_row
        self.shuffle_buffer = shuffle_buffer
        self.world_size = world_size

    def __iter__(self) -> Iterator[SampleKey]:
        epoch = self.epoch
        order = stream_order(
            self.shard_of_row,
            seed=self.seed,
            epoch=epoch,
            shuffle_buffer=self.shuffle_buffer,
            world_size=self.world_size,
        )
        return (SampleKey(epoch, row) for row in order.tolist())


class Fetched(NamedTuple):
    """One use of one sample, and its image file."""

    key: SampleKey
    data: bytes


class _FetchingBatchSampler(ShardedBatchSampler):
    """The batches of one process with their images, read in the process that asks for batches.

    Workers decode; none of them reads, so their number decides neither what is read by whom nor in which order.

    Args:
        source: The images.
        sampler: Their order.
        batches: Batch size and process.
    """

    def __init__(self, source: EncodedImages, sampler: StreamSampler, batches: ShardedBatchSampler) -> None:
        super().__init__(sampler, batches.batch_size, rank=batches.rank, world_size=batches.world_size, passes=batches.passes)
        self._source = source

    def __iter__(self) -> Iterator[list[Fetched]]:  # type: ignore[override]
        batches = list(super().__iter__())
        names = [self._source.name(key.row) for batch in batches for key in batch]
        with contextlib.closing(self._source.storage.fetch(names)) as files:  # type: ignore[attr-defined]
            for batch in batches:
                yield [Fetched(key, next(files)) for key in batch]


class _FetchedDataset(SeededDataset):
    """A `SeededDataset` over a `ShardStorage`; keys may bring their images along."""

    def __getitem__(self, key: SampleKey | Fetched) -> tuple[Any, Any]:
        if isinstance(key, Fetched):
            source: EncodedImages = self.source  # type: ignore[assignment]
            source.storage.arrive(source.name(key.key.row), key.data)  # type: ignore[attr-defined]
            key = key.key
        return super().__getitem__(key)


class StreamLoader(ReportingLoader):
    """A loader over images in shards, which reads each shard as few times as it can.

    Args:
        dataset: Images of a `ShardStorage`.
        batches: Seed, epoch, batch size and process; the order is replaced by that of `stream_order`.
        **options: See `torch.utils.data.DataLoader`.
    """

    def __init__(self, dataset: SeededDataset, batches: ShardedBatchSampler, **options: Any) -> None:
        source: EncodedImages = dataset.source  # type: ignore[assignment]
        storage: ShardStorage = source.storage  # type: ignore[assignment]
        sampler = StreamSampler(
            np.array([storage.place(source.name(row))[0] for row in range(len(source))], dtype=np.int64),
            seed=batches.sampler.seed,
            shuffle_buffer=storage.shuffle_buffer if batches.sampler.shuffle else 0,
            world_size=batches.world_size,
        )
        sampler.set_epoch(batches.sampler.epoch)
        fetched = _FetchedDataset(source, dataset.transform, seed=dataset.seed)
        super().__init__(fetched, _FetchingBatchSampler(source, sampler, batches), **options)
        self._order = {"the number of processes": batches.world_size, "data.shuffle_buffer": sampler.shuffle_buffer}

    def state_dict(self) -> dict[str, Any]:
        """The position of `ResumableLoader`, and what the order depends on beside seed and epoch."""
        return {**super().state_dict(), "order": dict(self._order)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration go on from `state`, if it is one over the same epoch.

        Raises:
            OptionError: The epoch was begun with another global batch size, shuffle buffer or number of processes.
        """
        order: dict[str, int] = state["order"]
        for option, begun_with in order.items():
            if begun_with != self._order[option]:
                raise OptionError(
                    f"resuming a stream in mid-epoch needs the order the epoch began with, {option} = {begun_with}; got "
                    f"{self._order[option]}: set it back"
                )
        super().load_state_dict({name: value for name, value in state.items() if name != "order"})
