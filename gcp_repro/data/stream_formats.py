"""Readers of remote shards: WebDataset's tar files and Hugging Face's parquet files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from gcp_repro.data.layouts.tables import import_extra, naming
from gcp_repro.errors import DataError

__all__ = ["FORMATS", "Encoded", "expand_urls"]


class Encoded(NamedTuple):
    """One image of a stream: what it is called, the bytes of its file, its label from 0."""

    key: str
    data: bytes
    label: int


def _read_webdataset(urls: Sequence[str]) -> Iterator[Encoded]:
    webdataset = import_extra("webdataset", "WebDataset shards")
    tar = webdataset.tariterators
    for url in urls:
        with naming(url), contextlib.closing(webdataset.gopen(url)) as shard:
            files = ({**file, "__url__": url} for file in tar.tar_file_iterator(shard))
            for sample in tar.group_by_keys(files):
                yield _encoded(sample)


def _encoded(sample: dict[str, Any]) -> Encoded:
    image = next((sample[suffix] for suffix in ("jpg", "jpeg", "png") if suffix in sample), None)
    if image is None or "cls" not in sample:
        found = ", ".join(name for name in sample if not name.startswith("__"))
        raise DataError(
            f"a sample needs .jpg (or .jpeg, .png) and .cls; {sample['__key__']} in {sample['__url__']} has {found}: "
            "write the shard anew"
        )
    return Encoded(sample["__key__"], image, int(sample["cls"]))


def _read_parquet(urls: Sequence[str]) -> Iterator[Encoded]:
    datasets = import_extra("datasets", "parquet files")
    for url in urls:
        with naming(url):
            rows = datasets.load_dataset("parquet", data_files=[url], split="train", streaming=True)
            if rows.features is None or isinstance(rows.features["image"], datasets.Image):
                rows = rows.cast_column("image", datasets.Image(decode=False))
            for number, row in enumerate(rows):
                yield Encoded(f"{url}[{number}]", row["image"]["bytes"] or b"", int(row["label"]))


FORMATS: dict[str, Callable[[Sequence[str]], Iterator[Encoded]]] = {
    "webdataset": _read_webdataset,
    "parquet": _read_parquet,
}
"""Readers of shards by format; urls are what webdataset or fsspec understand (https:, s3:, hf:, pipe:, or a path)."""


def expand_urls(urls: str | Sequence[str]) -> list[str]:
    """Shards named by a pattern such as `https://host/train-{0000..1023}.tar`, or by a list of patterns.

    Example:
        >>> expand_urls("s-{08..10}.tar")
        ['s-08.tar', 's-09.tar', 's-10.tar']
    """
    patterns = [urls] if isinstance(urls, str) else list(urls)
    return [url for pattern in patterns for url in _expand(pattern)]


def _expand(pattern: str) -> list[str]:
    start, brace, rest = pattern.partition("{")
    inside, closing, end = rest.partition("}")
    first, dots, last = inside.partition("..")
    if not (brace and closing and dots and first.isdigit() and last.isdigit()):
        return [pattern]
    numbers = (f"{number:0{len(first)}d}" for number in range(int(first), int(last) + 1))
    return [f"{start}{number}{tail}" for number in numbers for tail in _expand(end)]
