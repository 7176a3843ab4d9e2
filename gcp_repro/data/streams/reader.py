"""Bytes of images from shards, in any order in which neighbours come from few shards, read ahead in threads."""

from __future__ import annotations

import contextlib
import itertools
import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from gcp_repro.data.streams.formats import EncodedSamples
from gcp_repro.data.streams.index import Shard
from gcp_repro.errors import DataError

__all__ = ["Place", "fetch"]

CHUNK = 256
"""Images that a thread reads at a time; of each open shard at most twice as many wait to be asked for."""

Place = tuple[int, int]
"""(number of the shard, place in it) of a sample."""


def fetch(
    places: Sequence[Place], shards: Sequence[Shard], read: Callable[[str], EncodedSamples], *, readers: int
) -> Iterator[bytes]:
    """The image files at `places`, in this order.

    A shard is read from its start to the last place that is wanted, once; what is not wanted is passed over, and shards
    without a wanted place are not opened. Images that are read before their turn wait in memory, so `places` should come
    roughly shard by shard.

    Args:
        places: What is wanted, each place once.
        shards: The shards that `places` counts.
        read: Reads one, see `FORMATS`.
        readers: Shards that are read at the same time, and how many are begun before the first of their images is needed.

    Raises:
        DataError: A shard cannot be read, or is not what its index says.
    """
    wanted: dict[int, list[int]] = {}
    for number, place in places:
        wanted.setdefault(number, []).append(place)
    upcoming = iter([(number, sorted(wanted[number])) for number in wanted])  # in the order of their first use
    pool = ThreadPoolExecutor(readers, thread_name_prefix="shard")
    begun: deque[tuple[int, _ShardReader]] = deque()  # not needed yet
    in_use: dict[int, _ShardReader] = {}
    finalizing = sys.is_finalizing
    try:
        for number, place in places:
            begun.extend(
                (next_number, _ShardReader(shards[next_number], next_places, read, pool))
                for next_number, next_places in itertools.islice(upcoming, readers + 1 - len(begun))
            )
            if number not in in_use:
                first, reader = begun.popleft()
                in_use[first] = reader
            yield in_use[number].take(place)
            if in_use[number].empty:
                del in_use[number]
    finally:
        if not finalizing():  # the end of the interpreter has stopped the threads already, and taken their modules apart
            readers_left = [*in_use.values(), *(reader for _, reader in begun)]
            for reader in readers_left:
                reader.stopped = True
            pool.shutdown(cancel_futures=True)
            for reader in readers_left:
                reader.close()


class _ShardReader:
    """The wanted samples of one shard, read ahead chunk by chunk.

    Args:
        shard: What the shard should hold.
        places: The wanted ones, ascending.
        read: See `fetch`.
        pool: Runs the reading.
    """

    def __init__(
        self, shard: Shard, places: Sequence[int], read: Callable[[str], EncodedSamples], pool: ThreadPoolExecutor
    ) -> None:
        self.stopped = False
        self._samples = _wanted_samples(shard, places, read)
        self._pool = pool
        self._left = len(places)  # not taken yet
        self._unread = len(places)  # not received from the thread yet
        self._waiting: dict[int, bytes] = {}
        self._chunk: Future[list[tuple[int, bytes]]] = pool.submit(self._read_chunk)

    @property
    def empty(self) -> bool:
        """Whether all wanted samples have been taken."""
        return self._left == 0

    def take(self, place: int) -> bytes:
        """The bytes at a wanted place; waits for them if need be."""
        while place not in self._waiting:
            chunk = self._chunk.result()
            self._unread -= len(chunk)
            if self._unread:
                self._chunk = self._pool.submit(self._read_chunk)
            self._waiting.update(chunk)
        self._left -= 1
        return self._waiting.pop(place)

    def close(self) -> None:
        """Close the shard; no thread may be reading it."""
        self._samples.close()

    def _read_chunk(self) -> list[tuple[int, bytes]]:
        chunk = []
        for sample in self._samples:
            chunk.append(sample)
            if self.stopped or (len(chunk) == CHUNK and len(chunk) < self._unread):
                break
        return chunk


def _wanted_samples(
    shard: Shard, places: Sequence[int], read: Callable[[str], EncodedSamples]
) -> Generator[tuple[int, bytes], None, None]:
    """Samples at ascending places.

    A shard that is wanted up to its last sample is read to its end, so that one that holds more is noticed.

    Raises:
        DataError: The shard is not what its index says.
    """
    wanted = set(places)
    found = 0
    with contextlib.closing(read(shard.url)) as samples:
        for place, sample in enumerate(samples):
            if place >= len(shard) or (os.fsencode(sample.key), sample.label) != (shard.keys[place], shard.labels[place]):
                break
            if place in wanted:
                yield place, sample.data
            found = place + 1
            if found > places[-1] and found < len(shard):
                return
        else:
            if found == len(shard):
                return
    raise DataError(
        f"a shard needs the samples it had when it was indexed; {shard.url} differs from sample {found} on, counted from 0: "
        f"fetch it again, or, if it was written anew, remove {shard.index} and start again"
    )
