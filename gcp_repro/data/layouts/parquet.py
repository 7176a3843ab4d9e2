"""Hugging Face parquet files on a local disk: rows with an image and a label."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from gcp_repro.data.image_set import SPLITS, ImageSet, Split, listing
from gcp_repro.data.layouts.extras import import_extra, naming
from gcp_repro.data.layouts.files import choose_column
from gcp_repro.data.layouts.lacking import Lack
from gcp_repro.data.layouts.numbering import number_classes, number_labels
from gcp_repro.data.layouts.split_names import check_copies, files_of_splits, find_files
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.errors import DataError
from gcp_repro.stand_ins import refuse_stand_in

__all__ = ["ParquetStorage", "lacking_parquet", "parse_parquet", "read_tables"]

IMAGE_COLUMNS = ("image", "img", "jpg", "png", "webp")
LOOKED_AT = 16  # images at the start of a file
LABEL_COLUMNS = ("label", "labels", "fine_label", "cls", "class")


class ParquetStorage:
    """Images in the rows of `datasets.Dataset`s; a name is `<split>/<row>`.

    Args:
        tables: Data set of each split, with a column `image` of bytes.
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
        data: bytes = self._tables[split][int(row)]["image"]
        return data

    def locate(self, name: str) -> str:
        """See `Storage`."""
        return f"row {name} of {self._root}"


def lacking_parquet(root: Path, options: OpenOptions) -> list[Lack]:
    """What a root lacks to be a data set of parquet files."""
    return [Lack(f"{split}-*.parquet") for split in SPLITS if not find_files(root, split, ".parquet", options)]


def parse_parquet(root: Path, options: OpenOptions, *, published: int | None = None) -> ImageSet:
    """A data set of files such as `train-00000-of-00294.parquet`, in the root, in `data/` or in a folder a split.

    The files are opened by their names as they are. The library `datasets` keeps an Arrow copy of their images in its cache
    (HF_HOME) from the first use on, as parquet cannot be read at random; what is wrong with the files is looked for before.

    Args:
        root: Holds the files.
        options: Names of splits and columns; with `allow_partial` files may be missing by the numbers in the others' names.
        published: How many classes the set is known to have.

    Raises:
        DataError: The library is not installed, a file is missing or damaged, a column is missing, a label is no class, or the
            splits number their classes differently.
    """
    files = files_of_splits(root, ".parquet", options)
    image_set = read_tables(root, files, options, published)
    check_copies([*files["train"], *files["val"]])
    return image_set


def read_tables(root: Path, files: dict[Split, list[Path]], options: OpenOptions, published: int | None) -> ImageSet:
    """The same of files that are named; a split without files stays empty.

    Args:
        root: What is called their place in messages.
        files: Files of each split.
        options: Names of columns.
        published: How many classes the set is known to have.
    """
    datasets = import_extra("datasets", "parquet files")
    files = {split: [path.absolute() for path in paths] for split, paths in files.items()}  # else `file:x` is an address
    for split, paths in files.items():
        if not sum(map(_checked_length, paths)):
            raise DataError(f"images are needed for {split!r}; {listing(paths)} has no rows: fetch the files again")
        with naming(str(paths[0])):
            _check_columns(paths[0], options)
    tables: dict[str, Any] = {split: _open(datasets, paths, options) for split, paths in files.items()}
    labels = {split: tables[split]["label"][:] if split in tables else [] for split in SPLITS}
    names = _names_of_all(list(itertools.chain(*files.values())), options)
    source = f"the label column of {' and '.join(listing(paths, 1) for paths in files.values())}"
    classes, first = number_classes(labels["train"], labels["val"], source, names, published=published)
    numbered = partial(number_labels, classes=classes, first=first, source=source, ordered=bool(names))
    train, val = ([(f"{split}/{row}", number) for row, number in enumerate(numbered(labels[split]))] for split in SPLITS)
    return ImageSet(train, val, classes, ParquetStorage(tables, root), first_label=first)


def _checked_length(path: Path) -> int:
    """Rows of a file that is one."""
    refuse_stand_in(path)
    with naming(str(path)):
        return int(import_extra("pyarrow.parquet", "parquet files").read_metadata(path).num_rows)


def _check_columns(path: Path, options: OpenOptions) -> None:
    """Look at the kinds of the two columns, and at the first image.

    Raises:
        DataError: The one holds no images, or only paths of them, or the other no labels.
    """
    parquet, types = import_extra("pyarrow.parquet", "parquet files"), import_extra("pyarrow", "parquet files").types
    file = parquet.ParquetFile(path)
    images, labels = _columns_of(str(path), file.schema_arrow.names, options)
    first: list[Any] = next(
        (batch.column(0).to_pylist() for batch in file.iter_batches(batch_size=LOOKED_AT, columns=[images])), []
    )
    if first and not any(data and isinstance(data, bytes) for data in map(_image_bytes, first)):
        raise DataError(
            f"{path} needs the bytes of images in the column {images!r}, or a struct of 'bytes' and 'path' with these; the first "
            f"row has {str(first[0])[:80]!r}: write the files with the images in them, name another column by data.path_column, "
            "or write a list of the paths (csv)"
        )
    kind = _value_type(file.schema_arrow.field(labels).type)
    known = (types.is_integer, types.is_floating, types.is_boolean, types.is_string, types.is_large_string, types.is_decimal)
    if not any(is_kind(kind) for is_kind in known):
        raise DataError(
            f"{path} needs a whole number or a name as each label; the column {labels!r} holds {kind}: name another column by "
            "data.label_column"
        )


def _value_type(kind: Any) -> Any:
    """The type of what a column's dictionary holds, where it has one."""
    return kind.value_type if hasattr(kind, "index_type") else kind


def _columns_of(source: str, columns: Sequence[str], options: OpenOptions) -> tuple[str, str]:
    """Names of a table's columns of images and labels.

    Raises:
        DataError: One is not there.
    """
    return (
        choose_column(source, columns, "path", options.path_column, IMAGE_COLUMNS),
        choose_column(source, columns, "label", options.label_column, LABEL_COLUMNS),
    )


def _image_bytes(image: Any) -> Any:
    """The file in a cell: bytes, or a struct of bytes and path; empty where there is none."""
    return (image.get("bytes") if isinstance(image, dict) else image) or b""


def _open(datasets: Any, files: Sequence[Path], options: OpenOptions) -> Any:
    """An Arrow copy of files, kept until one of them changes.

    (`load_dataset` would take the names for patterns and open their neighbours as well.)
    """
    parquet, arrow = import_extra("pyarrow.parquet", "parquet files"), import_extra("pyarrow", "parquet files")
    stamps = [(str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    schema = parquet.read_schema(files[0])
    _, column = _columns_of(str(files[0]), schema.names, options)
    kind = _value_type(schema.field(column).type)
    label = "int64" if arrow.types.is_integer(kind) else "float64" if arrow.types.is_floating(kind) else "string"
    features = {"image": datasets.Value("large_binary"), "label": datasets.Value(label)}
    with naming(listing(files, 2)):
        return datasets.Dataset.from_generator(
            _rows,
            features=datasets.Features(features),
            gen_kwargs={"stamps": stamps, "options": (options.path_column, options.label_column)},
        )


def _rows(stamps: Sequence[tuple[str, int, int]], options: tuple[str | None, str | None]) -> Iterator[dict[str, Any]]:
    """Rows of files with the columns `image` and `label`; at module level, as their copy is found again by this code."""
    parquet = import_extra("pyarrow.parquet", "parquet files")
    for path, _, _ in stamps:
        file = parquet.ParquetFile(path)
        columns = _columns_of(path, file.schema_arrow.names, OpenOptions(path_column=options[0], label_column=options[1]))
        for batch in file.iter_batches(batch_size=256, columns=list(columns)):
            for image, label in zip(*(batch.column(column).to_pylist() for column in columns), strict=True):
                yield {"image": _image_bytes(image), "label": label.strip() if isinstance(label, str) else label}


def _names_of_all(files: Sequence[Path], options: OpenOptions) -> tuple[str, ...]:
    """Names of the classes, in the order of their numbers; empty where no file has any.

    Raises:
        DataError: Two files have other names, or another order.
    """
    named = {file: names for file in files if (names := _class_names(file, options))}
    known = next(iter(named), None)
    other = next((file for file in named if known is not None and named[file] != named[known]), None)
    if other is not None:
        raise DataError(
            f"{other} needs the classes of {known} in their order; they have other names or another order: the files are of two "
            "data sets or releases; download them together"
        )
    return () if known is None else named[known]


def _class_names(file: Path, options: OpenOptions) -> tuple[str, ...]:
    """Names in the labels' type, which the library writes into a file's metadata; empty where it has none."""
    datasets, parquet = import_extra("datasets", "parquet files"), import_extra("pyarrow.parquet", "parquet files")
    schema = parquet.read_schema(file)
    _, column = _columns_of(str(file), schema.names, options)
    return tuple(getattr(datasets.Features.from_arrow_schema(schema)[column], "names", None) or ())
