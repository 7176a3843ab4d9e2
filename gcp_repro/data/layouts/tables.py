"""ImageNet as Hugging Face parquet files or WebDataset shards on a local disk: rows with images and labels."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from gcp_repro.data.image_set import ImageSet, Samples, listing, report_partial
from gcp_repro.data.layouts.files import whole_number
from gcp_repro.data.storage import is_image_name
from gcp_repro.data.tar_storage import TarMember, TarStorage, index_tar
from gcp_repro.errors import DataError

__all__ = ["import_extra", "naming", "parse_parquet", "parse_shards"]

VALIDATION_NAMES = ("validation", "val")
EXTRAS = {"pyarrow.parquet": "datasets"}  # the extra that brings a library, where it has another name


def _label_in_json(data: bytes) -> Any:
    try:
        return json.loads(data)["label"]
    except (ValueError, KeyError, TypeError):
        return data.decode(errors="replace")[:80]  # no number: the caller says so


LABEL_FILES: dict[str, Callable[[bytes], Any]] = {
    ".cls": lambda data: data.decode(errors="replace").strip(),
    ".json": _label_in_json,
}
"""What holds a sample's label in a WebDataset shard, the likeliest first."""


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
        image = self._tables[split][int(row)]["image"]
        return (image["bytes"] if isinstance(image, dict) else image) or b""

    def locate(self, name: str) -> str:
        """See `Storage`."""
        return f"row {name} of {self._root}"


def parse_parquet(root: Path, *, allow_partial: bool = False) -> ImageSet:
    """ImageNet from `train-*.parquet` and `validation-*.parquet`, in the root or below it, as `ILSVRC/imagenet-1k` has them.

    The library `datasets` makes an Arrow copy of the files in its cache (HF_HOME) at the first use; what is wrong with the files
    is looked for before.

    Args:
        root: Holds the files.
        allow_partial: Warn about files that are missing by the numbers in the others' names, instead of raising.

    Raises:
        DataError: The library is not installed, a file is missing or damaged, a column is missing, a label is no number, or the
            splits number their classes differently.
    """
    datasets = import_extra("datasets", "parquet files")
    splits = {split: _files(root, names, ".parquet") for split, names in (("train", ("train",)), ("val", VALIDATION_NAMES))}
    for files in splits.values():
        _check_whole(root, files, allow_partial)
    tables = {}
    for split, files in splits.items():
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
    labels = {
        split: [whole_number(label, f"column label of {listing(splits[split], 2)}") for label in table["label"]]
        for split, table in tables.items()
    }
    named, named_val = (getattr(tables[split].features["label"], "names", None) for split in ("train", "val"))
    if named and named_val and named != named_val:
        raise DataError(
            f"{splits['val'][0]} needs the classes of {splits['train'][0]} in their order; they have other names or another "
            "order: the files are of two data sets or releases; download them together"
        )
    classes = tuple(named or named_val or _numbered_classes(labels))
    train, val = ([(f"{split}/{row}", label) for row, label in enumerate(labels[split])] for split in ("train", "val"))
    return ImageSet(train, val, classes, ParquetStorage(tables, root))


def parse_shards(root: Path, *, index_dir: Path | None = None) -> ImageSet:
    """ImageNet from WebDataset shards `*train-*.tar` and `*validation-*.tar`, as `timm/imagenet-1k-wds` has them.

    A sample is an image and a file of the same key with its label: a number in `.cls`, or `label` in `.json`. Local shards are
    read in place by index, so order, sharding and resuming are those of every other layout.

    Raises:
        DataError: A split is missing, a shard is damaged, or an image has no label.
    """
    shards = {
        f"{split}/{path.relative_to(root).with_suffix('')}": path
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
        library = importlib.import_module(name)
    except ImportError as error:
        raise DataError(
            f"reading {purpose} needs the library {name}; it is not installed: pip install 'gcp_repro[{EXTRAS.get(name, name)}]'"
        ) from error
    if name == "datasets":
        library.utils.tqdm.get_lock()  # it must exist: threads that list files side by side would delete each other's
        library.config.HF_UPDATE_DOWNLOAD_COUNTS = False  # each file opened would be counted at the hub, and wait for a network
    return library


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
        reason = error.__cause__ or error  # libraries say "an error occurred" and hide which
        raise DataError(
            f"a whole shard is needed; reading {source} gave {type(reason).__name__}: {reason}: check its address, that this "
            "machine can reach it, and that it was written to the end"
        ) from error


def _files(root: Path, names: tuple[str, ...], suffix: str) -> list[str]:
    """Files of a split, `train-00000-of-00294.parquet` or `imagenet1k-train-0000.tar`, sorted."""
    patterns = [f"*{name}-*{suffix}" for name in names]
    files = sorted({str(path) for pattern in patterns for path in root.rglob(pattern)})
    if not files:
        raise DataError(f"ImageNet needs files {' or '.join(patterns)}; {root} has none: download the split, or check data.root")
    return files


def _check_whole(root: Path, files: list[str], allow_partial: bool) -> None:
    """Refuse damaged files, and sets of `<split>-00000-of-00294.parquet` that lack a number."""
    parquet = import_extra("pyarrow.parquet", "parquet files")
    for file in files:
        with naming(file):
            parquet.read_metadata(file)
    numbered = [found for file in files if (found := re.fullmatch(r"(.*-)(\d+)(-of-)(\d+)\.parquet", Path(file).name))]
    wanted = {
        f"{start}{number:0{len(digits)}d}{of}{count}.parquet"
        for start, digits, of, count in (found.groups() for found in numbered)
        for number in range(int(count))
    }
    absent = sorted(wanted - {Path(file).name for file in files})
    if absent:
        report_partial(f"{root} lacks {listing(absent)}", "download what is missing", allow_partial=allow_partial)


def _shard_labels(path: Path, members: list[TarMember]) -> list[tuple[str, int]]:
    """Names and labels of a shard's images; `.json` is read where there is no `.cls`."""
    labels: dict[str, int] = {}
    with path.open("rb") as file:
        for suffix, parse in LABEL_FILES.items():
            for member in members:
                if member.name.endswith(suffix) and _key(member.name) not in labels:
                    value = parse(os.pread(file.fileno(), member.size, member.offset))
                    labels[_key(member.name)] = whole_number(value, path)
    images = [member.name for member in members if is_image_name(PurePosixPath(member.name).name)]
    without = [name for name in images if _key(name) not in labels]
    if without:
        raise DataError(
            f"{path} needs a .cls or .json file for each image; {listing(without)} has none: write the shards with labels"
        )
    return [(name, labels[_key(name)]) for name in images]


def _key(name: str) -> str:
    """What the files of a sample have in common: the name up to the first dot after the folders."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"


def _numbered_classes(labels: dict[str, list[int]]) -> tuple[str, ...]:
    return tuple(str(label) for label in range(max((max(rows, default=-1) for rows in labels.values()), default=-1) + 1))
