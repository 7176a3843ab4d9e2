"""ImageNet from remote shards, for machines without a shared file system.

The shards are fetched to a local disk once and are then files like any other, so order, sharding, workers and resuming are those
of every other form; `docs/reading_images.md` says why no library reads them from afar with the same guarantees.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from gcp_repro.data.base import Split
from gcp_repro.data.encoded_images import EncodedImages
from gcp_repro.data.image_files import ImageFilesDataModule
from gcp_repro.data.image_set import ImageSet, listing, report_partial
from gcp_repro.data.layouts.extras import import_extra, naming
from gcp_repro.data.layouts.parquet import read_tables
from gcp_repro.data.layouts.shards import read_shards
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.subset import class_names, select_subset
from gcp_repro.errors import DataError, OptionError, UnknownNameError
from gcp_repro.stand_ins import stand_in_at
from gcp_repro.user_paths import user_path

__all__ = ["StreamDataModule", "default_cache_dir", "expand_urls"]

log = logging.getLogger(__name__)

FETCHED_AT_ONCE = 8
READERS: dict[str, tuple[str, Callable[[Path, dict[Split, list[Path]], OpenOptions, int], ImageSet]]] = {
    "webdataset": (".tar", read_shards),
    "parquet": (".parquet", read_tables),
}
"""Suffix and reader of each format."""


def default_cache_dir() -> Path:
    """The folder of shards in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gcp_repro" / "shards"


class StreamDataModule(ImageFilesDataModule):
    """ImageNet, or a set of the same form, from remote shards.

    Args:
        format: "webdataset" or "parquet".
        train_urls: Shards of the training set: a pattern with `{0000..1023}`, or a list. A path is taken as it is,
            `pipe:COMMAND` stands for what the command prints, anything else is left to fsspec (https:, s3:, hf:).
        val_urls: The same of the evaluation set.
        num_classes: Classes of the shards, whose labels go from 0 to one less.
        train_images: Images that the training shards should hold; any number if None.
        val_images: The same of the evaluation set.
        cache_dir: Where the shards are kept; in the user's cache if None.
        **options: See `ImageFilesDataModule`; `dataset`, `root` and `layout` have no meaning here.

    Raises:
        UnknownNameError: An unknown format, transform or policy.
        OptionError: No shards, or one shard twice.
        DataError: A shard cannot be read, or the shards hold other numbers of images or labels. Raised before training.
    """

    def __init__(
        self,
        format: str,
        train_urls: str | Sequence[str],
        val_urls: str | Sequence[str],
        *,
        num_classes: int = 1000,
        train_images: int | None = 1_281_167,
        val_images: int | None = 50_000,
        cache_dir: str | None = None,
        **options: Any,
    ) -> None:
        super().__init__("imagenet", **(options | {"root": ""}))
        if format not in READERS:
            raise UnknownNameError("format of shards", format, READERS)
        self.suffix, self.read = READERS[format]
        self.urls: dict[Split, list[str]] = {"train": expand_urls(train_urls), "val": expand_urls(val_urls)}
        self._check_urls()
        self.shard_classes = num_classes
        self._class_names: Sequence[str] | None = None
        self.expected: dict[Split, int | None] = {"train": train_images, "val": val_images}
        self.cache_dir = default_cache_dir() if cache_dir is None else user_path(cache_dir)

    @property
    def num_classes(self) -> int:  # type: ignore[override]
        """Classes of the shards, or of the part of them that was asked for."""
        kept: Any = self.subset["classes"]
        names = class_names(kept)
        if names is not None:
            return len(names)
        return self.shard_classes if kept is None else int(kept)

    @property
    def class_names(self) -> Sequence[str] | None:  # type: ignore[override]
        """Names of the classes by label; None before the shards are read."""
        return self._class_names

    def prepare_data(self) -> None:
        """Fetch what is not here; Lightning lets one process of each machine do that."""
        only_evaluating = self.trainer is not None and self.trainer.state.fn in ("validate", "test")
        for split in ("val",) if only_evaluating else ("train", "val"):
            self._files(split)  # type: ignore[arg-type]

    def make_dataset(self, split: Split) -> EncodedImages:
        """The images of a split.

        Raises:
            DataError: A shard cannot be read, or the shards hold other numbers of images or labels than they should.
        """
        files = self._files(split)
        image_set = self.read(self.cache_dir, {split: files}, self.open_options, self.shard_classes)
        if len(image_set.classes) > self.shard_classes:
            wrong = [
                f"{image_set.storage.locate(name)} (label {label})"
                for name, label in image_set.split(split)
                if label >= self.shard_classes
            ]
            raise DataError(
                f"data.{split}_urls needs labels from 0 to {self.shard_classes - 1}; out of range: {listing(wrong)}: "
                "set data.num_classes, or write the shards anew"
            )
        expected, found = self.expected[split], len(image_set.split(split))
        if len(image_set.classes) < self.shard_classes:
            image_set = replace(image_set, classes=tuple(map(str, range(self.shard_classes))))
        if expected not in (None, found):
            report_partial(
                f"data.{split}_urls holds {found:,} images in {len(files):,} shards instead of {expected:,}",
                f"name all shards, or set data.{split}_images to what they hold",
                allow_partial=self.open_options.allow_partial,
            )
        selected = select_subset(image_set, **self.subset)  # type: ignore[arg-type]
        self._class_names = selected.classes
        return self.encoded(split, selected)

    def run_record(self) -> dict[str, Any]:
        """Images in use and images that could not be read, by split."""
        record: dict[str, Any] = {}
        for split, source in self._sources.items():
            record[f"{split}_images"] = len(source)
            record[f"unreadable_{split}_images"] = len(source.unreadable())
        return record

    def _files(self, split: Split) -> list[Path]:
        """The shards of a split on this machine, fetched if they are not here."""
        with ThreadPoolExecutor(FETCHED_AT_ONCE) as pool:
            return list(pool.map(partial(_local, folder=self.cache_dir, suffix=self.suffix), self.urls[split]))

    def _check_urls(self) -> None:
        for split, urls in self.urls.items():
            joined = [url for url in urls if f"{self.suffix}::" in url]
            if joined:
                raise OptionError(
                    f"data.{split}_urls needs a list of shards; got {joined[0]!r}: write [FIRST,SECOND] for FIRST::SECOND"
                )
            if not any(urls):
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


def _local(url: str, folder: Path, suffix: str) -> Path:
    """A shard on this machine; a remote one is fetched whole and appears under its name when it is complete.

    Addresses may hold secrets and be of any length, so a digest names the file.
    """
    if Path(url).is_file():
        return Path(url)
    path = folder / f"{hashlib.sha256(os.fsencode(url)).hexdigest()[:32]}{suffix}"
    if not path.exists():
        log.info("fetching %s", url.partition("?")[0])
        unfinished = path.with_name(f".{path.name}.{os.getpid()}")
        with naming(url):
            folder.mkdir(parents=True, exist_ok=True)
            if url.startswith("pipe:"):
                with unfinished.open("wb") as file:
                    subprocess.run(url.removeprefix("pipe:"), shell=True, stdout=file, check=True)  # the user's own command
            else:
                filesystem, place = import_extra("fsspec", "remote shards").core.url_to_fs(url)
                filesystem.get_file(place, str(unfinished))
            found = stand_in_at(unfinished)
            if found:
                unfinished.unlink()
                raise DataError(f"a shard is needed at {url.partition('?')[0]}; what comes from there is {found}")
        unfinished.replace(path)
    return path


def expand_urls(urls: str | Sequence[str]) -> list[str]:
    """Shards named by a pattern such as `https://host/train-{0000..1023}.tar`, or by a list of patterns.

    Example:
        >>> expand_urls("s-{08..10}.tar")
        ['s-08.tar', 's-09.tar', 's-10.tar']
    """
    return [url for pattern in ([urls] if isinstance(urls, str) else urls) for url in _expand(pattern)]


def _expand(pattern: str) -> Iterator[str]:
    found = re.search(r"\{(\d+)\.\.(\d+)\}", pattern)
    if found is None or Path(pattern).is_file():
        yield pattern
        return
    first, last = map(int, found.groups())
    step = 1 if first <= last else -1
    for number in range(first, last + step, step):
        yield from _expand(f"{pattern[: found.start()]}{number:0{len(found[1])}d}{pattern[found.end() :]}")
