"""Readers of shards, remote or local: WebDataset's tar files and Hugging Face's parquet files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NamedTuple

from gcp_repro.data.layouts.files import whole_number
from gcp_repro.data.layouts.tables import LABEL_FILES, import_extra, naming
from gcp_repro.data.storage import IMAGE_SUFFIXES
from gcp_repro.errors import DataError

__all__ = ["FORMATS", "Encoded", "EncodedSamples", "ShardFormat", "expand_urls"]

DRAINED_AT_ONCE = 1 << 20  # bytes
PARQUET_COLUMNS = ["image", "label"]


class Encoded(NamedTuple):
    """One sample of a shard: what it is called, its label from 0, the bytes of its image file."""

    key: str
    label: int
    data: bytes


EncodedSamples = Generator[Encoded, None, None]


class ShardFormat(NamedTuple):
    """How shards are read; both functions take an address and give the samples in the shard's order.

    Args:
        read: All of each sample.
        scan: The same without the bytes, as cheaply as the format allows.
    """

    read: Callable[[str], EncodedSamples]
    scan: Callable[[str], EncodedSamples]


def _read_webdataset(url: str) -> EncodedSamples:
    webdataset = import_extra("webdataset", "WebDataset shards")
    tar = webdataset.tariterators
    with naming(url), _opened(webdataset.gopen, url) as shard:
        files = ({**file, "__url__": url} for file in tar.tar_file_iterator(shard))
        for sample in tar.group_by_keys(files):
            yield _encoded(sample)


def _scan_webdataset(url: str) -> EncodedSamples:
    """A tar file has no table of contents, so all of it passes by."""
    return (sample._replace(data=b"") for sample in _read_webdataset(url))


@contextlib.contextmanager
def _opened(gopen: Callable[[str], Any], url: str) -> Iterator[Any]:
    """An open shard, read to its end unless the caller stops before.

    What stands behind the archive's end is read, too, so that a program that fetches the shard ends by itself and its exit status
    tells whether all arrived. A program whose output is no longer wanted is ended instead: processes forked since it
    started hold its output open, so it might wait forever for a reader.
    """
    shard = gopen(url)
    try:
        yield shard
        while shard.read(DRAINED_AT_ONCE):
            pass
        shard.close()
    except BaseException:
        if hasattr(shard, "proc"):
            shard.proc.kill()
        with contextlib.suppress(OSError):  # the exit status of what was just ended
            shard.close()
        raise


def _encoded(sample: dict[str, Any]) -> Encoded:
    image = next((sample[suffix[1:]] for suffix in IMAGE_SUFFIXES if suffix[1:] in sample), None)
    label = next((parse(sample[suffix[1:]]) for suffix, parse in LABEL_FILES.items() if suffix[1:] in sample), None)
    if image is None or label is None:
        found = ", ".join(name for name in sample if not name.startswith("__"))
        raise DataError(
            f"a sample needs an image and its label in .cls or .json; {sample['__key__']} in {sample['__url__']} has {found}: "
            "write the shard anew"
        )
    return Encoded(sample["__key__"], whole_number(label, f"{sample['__url__']}: {sample['__key__']}"), image)


def _read_parquet(url: str) -> EncodedSamples:
    return _parquet_rows(url, with_images=True)


def _scan_parquet(url: str) -> EncodedSamples:
    """Only the file's footer and its column of labels are fetched."""
    return _parquet_rows(url, with_images=False)


def _parquet_rows(url: str, *, with_images: bool) -> EncodedSamples:
    datasets = import_extra("datasets", "parquet files")
    with naming(url):
        rows = _parquet_table(datasets, url, PARQUET_COLUMNS)
        absent = [column for column in PARQUET_COLUMNS if column not in rows.features]
        if absent:
            raise DataError(f"{url} needs the columns image and label; it lacks {', '.join(absent)}: it is another table")
        if not with_images:
            rows = _parquet_table(datasets, url, ["label"])
        elif isinstance(rows.features["image"], datasets.Image):
            rows = rows.cast_column("image", datasets.Image(decode=False))
        for number, row in enumerate(rows):
            label = whole_number(row["label"], f"{url}: row {number}")
            image = row.get("image")
            yield Encoded(f"row {number}", label, (image["bytes"] if isinstance(image, dict) else image) or b"")


def _parquet_table(datasets: Any, url: str, columns: list[str]) -> Any:
    """Some columns of a file, whose footer alone has been read so far."""
    return datasets.load_dataset("parquet", data_files=[url], split="train", streaming=True, columns=columns)


FORMATS: dict[str, ShardFormat] = {
    "webdataset": ShardFormat(_read_webdataset, _scan_webdataset),
    "parquet": ShardFormat(_read_parquet, _scan_parquet),
}
"""Formats of shards by name; addresses are what webdataset or fsspec understand (https:, hf:, pipe:, or a path)."""


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
