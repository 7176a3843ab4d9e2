"""ImageNet as Hugging Face parquet files or WebDataset shards on a local disk: rows with images and labels."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from gcp_repro.data.image_set import ImageSet, Samples, listing
from gcp_repro.data.layouts.files import whole_number
from gcp_repro.data.storage import is_image_name
from gcp_repro.data.tar_storage import TarMember, TarStorage, index_tar
from gcp_repro.errors import DataError

__all__ = ["import_extra", "naming", "parse_parquet", "parse_shards"]

VALIDATION_NAMES = ("validation", "val")


class ParquetStorage:
    """Images in the rows of `datasets.Dataset`s; a name is `<split>/<row>`.

    Args:
        tables: Data set of each split, with a column `image` of `{"bytes", "path"}`.
        root: Where the files lie, for messages.
    """

    def __init__(self, tables: dict[str, Any], root: Path) -> None:
        self._tables = tables
        self._root = root

    def names(self, folder: str) -> list[str]:
        """See `Storage`; in the order of the rows."""
        return [f"{folder}/{row}" for row in range(len(self._tables[folder]))] if folder in self._tables else []

    def folders(self, folder: str) -> list[str]:
        """See `Storage`; a table has none."""
        return []

    def read(self, name: str) -> bytes:
        """See `Storage`; a row without bytes is an empty file."""
        split, _, row = name.partition("/")
        return self._tables[split][int(row)]["image"]["bytes"] or b""

    def locate(self, name: str) -> str:
        """See `Storage`."""
        return f"row {name} of {self._root}"


def parse_parquet(root: Path) -> ImageSet:
    """ImageNet from `train-*.parquet` and `validation-*.parquet`, in the root or below it, as `ILSVRC/imagenet-1k` has them.

    The library `datasets` makes an Arrow copy of the files in its cache (HF_HOME) at the first use.

    Raises:
        DataError: The library is not installed, or a split or a column is missing.
    """
    datasets = import_extra("datasets", "parquet files")
    tables = {}
    for split, names in (("train", ("train",)), ("val", VALIDATION_NAMES)):
        files = _files(root, names, ".parquet")
        with naming(listing(files, 2)):
            table = datasets.load_dataset("parquet", data_files=files, split="train")
        absent = {"image", "label"} - set(table.column_names)
        if absent:
            raise DataError(
                f"{files[0]} needs the columns image and label; it has {listing(table.column_names)}: it is another table"
            )
        if isinstance(table.features["image"], datasets.Image):
            table = table.cast_column("image", datasets.Image(decode=False))
        tables[split] = table
    labels = {split: [int(label) for label in table["label"]] for split, table in tables.items()}
    feature = tables["train"].features["label"]
    classes = tuple(getattr(feature, "names", None) or _numbered_classes(labels))
    train, val = ([(f"{split}/{row}", label) for row, label in enumerate(labels[split])] for split in ("train", "val"))
    return ImageSet(train, val, classes, ParquetStorage(tables, root))


def parse_shards(root: Path, *, index_dir: Path | None = None) -> ImageSet:
    """ImageNet from WebDataset shards `*train-*.tar` and `*validation-*.tar`, as `timm/imagenet-1k-wds` has them.

    A sample is an image and a `.cls` file of the same key with its label. Local shards are read in place by
    index, so order, sharding and resuming are those of every other layout.

    Raises:
        DataError: A split is missing, a shard is damaged, or an image has no label.
    """
    shards = {
        f"{split}/{path.stem}": path
        for split, names in (("train", ("train",)), ("val", VALIDATION_NAMES))
        for path in map(Path, _files(root, names, ".tar"))
    }
    samples: dict[str, Samples] = {"train": [], "val": []}
    for prefix, path in shards.items():
        rows = [(f"{prefix}/{name}", label) for name, label in _shard_labels(path, index_tar(path, index_dir))]
        samples[prefix.partition("/")[0]] += rows
    classes = _numbered_classes({split: [label for _, label in rows] for split, rows in samples.items()})
    return ImageSet(samples["train"], samples["val"], classes, TarStorage(shards, index_dir))


def import_extra(name: str, purpose: str) -> Any:
    """An optional library.

    Raises:
        DataError: It is not installed.
    """
    try:
        return __import__(name)
    except ImportError as error:
        raise DataError(
            f"reading {purpose} needs the library {name}; it is not installed: pip install 'gcp_repro[{name}]'"
        ) from error


@contextlib.contextmanager
def naming(source: str) -> Iterator[None]:
    """Turn whatever a library raises over a shard into an error that names it.

    Raises:
        DataError: It raised something.
    """
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"a whole shard is needed; reading {source} gave {type(error).__name__}: {error}: check its address, that this "
            "machine can reach it, and that it was written to the end"
        ) from error


def _files(root: Path, names: tuple[str, ...], suffix: str) -> list[str]:
    """Files of a split, `train-00000-of-00294.parquet` or `imagenet1k-train-0000.tar`, sorted."""
    patterns = [f"*{name}-*{suffix}" for name in names]
    files = sorted({str(path) for pattern in patterns for path in root.rglob(pattern)})
    if not files:
        raise DataError(f"ImageNet needs files {' or '.join(patterns)}; {root} has none: download the split, or check data.root")
    return files


def _shard_labels(path: Path, members: list[TarMember]) -> list[tuple[str, int]]:
    labels = {}
    with path.open("rb") as file:
        for member in members:
            if member.name.endswith(".cls"):
                text = os.pread(file.fileno(), member.size, member.offset).decode(errors="replace")
                labels[_key(member.name)] = whole_number(text.strip(), path)
    images = [member.name for member in members if is_image_name(PurePosixPath(member.name).name)]
    without = [name for name in images if _key(name) not in labels]
    if without:
        raise DataError(f"{path} needs a .cls file for each image; {listing(without)} has none: write the shards with labels")
    return [(name, labels[_key(name)]) for name in images]


def _key(name: str) -> str:
    """What the files of a sample have in common: the name up to the first dot after the folders."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _numbered_classes(labels: dict[str, list[int]]) -> tuple[str, ...]:
    return tuple(str(label) for label in range(max((max(rows, default=-1) for rows in labels.values()), default=-1) + 1))
