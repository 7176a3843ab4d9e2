"""What each shard holds, found out once and kept, so that a stream has a length and an order before it is read."""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import distributed

from gcp_repro.data.streams.formats import ShardFormat
from gcp_repro.errors import DataError

__all__ = ["Shard", "default_index_dir", "index_shards"]

log = logging.getLogger(__name__)

INDEX_VERSION = 1


@dataclass(frozen=True)
class Shard:
    """The samples of one shard, in its order.

    Args:
        url: Its address.
        keys: `(N,)`, bytes: what the samples are called.
        labels: `(N,)`, int64, from 0.
        index: The file that keeps this.
    """

    url: str
    keys: np.ndarray
    labels: np.ndarray
    index: Path

    def __len__(self) -> int:
        return len(self.labels)

    def key(self, place: int) -> str:
        """What the sample at a place of the shard is called."""
        return os.fsdecode(self.keys[place])


def default_index_dir() -> Path:
    """The folder of indices in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gcp_repro" / "shards"


def index_shards(
    urls: Sequence[str],
    form: ShardFormat,
    folder: Path,
    *,
    readers: int = 1,
    rank: int = 0,
    world_size: int = 1,
) -> list[Shard]:
    """All shards, the same list in every process.

    A shard that is not in `folder` yet is scanned, which for a tar file means to fetch it whole. The processes share
    this work, and all of them call this function. A local shard is scanned anew when its size or time changes; a
    remote one is taken to stay as it is (see `fetch`, which notices if it does not).

    Args:
        urls: Addresses of the shards.
        form: How to scan them.
        folder: Where indices are kept, one file a shard; a folder that cannot be written costs a scan at every start.
        readers: Shards to scan at the same time.
        rank: This process, from 0.
        world_size: Number of processes.

    Raises:
        DataError: A shard of any process cannot be read; all processes raise it.
    """
    mine = urls[rank::world_size]
    try:
        found: list[Shard] | DataError = _index(mine, form, folder, readers)
    except DataError as error:
        found = error  # the others wait for this process, and have to stop as well
    parts = [found]
    if world_size > 1:
        parts = [found] * world_size
        distributed.all_gather_object(parts, found)
    shards: dict[str, Shard] = {}
    for part in parts:
        if isinstance(part, DataError):
            raise part
        shards.update((shard.url, shard) for shard in part)
    return [shards[url] for url in urls]


def _index(urls: Sequence[str], form: ShardFormat, folder: Path, readers: int) -> list[Shard]:
    kept = {url: shard for url in urls if (shard := _load(url, folder)) is not None}
    missing = [url for url in dict.fromkeys(urls) if url not in kept]
    if missing:
        log.info("indexing %d of %d shards (once; kept in %s)", len(missing), len(urls), folder)
        with ThreadPoolExecutor(readers) as pool:
            for shard in pool.map(lambda url: _scan(url, form, folder), missing):
                kept[shard.url] = shard
    return [kept[url] for url in urls]


def _scan(url: str, form: ShardFormat, folder: Path) -> Shard:
    stamp = _stamp(url)
    samples = [(os.fsencode(sample.key), sample.label) for sample in form.scan(url)]
    keys = np.array([key for key, _ in samples], dtype=np.bytes_)
    shard = Shard(url, keys, np.array([label for _, label in samples], dtype=np.int64), _index_path(url, folder))
    _save(shard, stamp)
    return shard


def _index_path(url: str, folder: Path) -> Path:
    """Addresses may hold secrets and be of any length, so a file is named by a digest; that of a local shard by its full path."""
    place = str(Path(url).resolve()) if _stamp(url).any() else url
    return folder / f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:32]}.npz"


def _stamp(url: str) -> np.ndarray:
    """Size and time of a local file, zeros of anything else."""
    try:
        status = Path(url).stat()
    except (OSError, ValueError):
        return np.zeros(2, dtype=np.int64)
    return np.array([status.st_size, status.st_mtime_ns])


def _load(url: str, folder: Path) -> Shard | None:
    path = _index_path(url, folder)
    try:
        with np.load(path) as saved:
            if int(saved["version"]) == INDEX_VERSION and np.array_equal(saved["stamp"], _stamp(url)):
                return Shard(url, saved["keys"], saved["labels"], path)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        pass  # not there, or not whole: the shard is scanned anew
    return None


def _save(shard: Shard, stamp: np.ndarray) -> None:
    """Write the index in one step, so that processes that start together never read half of it."""
    unfinished = shard.index.with_name(f".{shard.index.stem}.{os.getpid()}.npz")
    try:
        shard.index.parent.mkdir(parents=True, exist_ok=True)
        np.savez(unfinished, version=np.array(INDEX_VERSION), stamp=stamp, keys=shard.keys, labels=shard.labels)
        unfinished.replace(shard.index)
    except OSError as error:
        log.warning(
            "the index of a shard cannot be kept at %s (%s); it will be made anew at every start", shard.index, error.strerror
        )
