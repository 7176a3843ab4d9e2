"""Lists of images with their labels: a text file with two columns, or a csv file with a header."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from gcp_repro.data.image_set import Split
from gcp_repro.data.layouts.files import choose_column, read_lines
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import is_image_name
from gcp_repro.errors import DataError

__all__ = ["Listed", "read_list"]

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "filepaths", "image", "image_path", "image_id", "id", "img")
LABEL_COLUMNS = ("label", "labels", "class", "class_id", "target", "category", "wnid")
EVALUATION_WORDS = frozenset({"val", "valid", "validation", "test", "true", "1", "yes"})
TRIED_SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".JPEG", ".JPG")


class Listed(NamedTuple):
    """A row of a list: an image's name in the root, and its label as written."""

    name: str
    label: str


def read_list(root: Path, name: str, split: Split, options: OpenOptions) -> list[Listed]:
    """The images on a list.

    In a text file the label follows the path, or stands before it where the path is last, as in MXNet's `number label path`
    (other columns between tabs are passed over). A csv file has a header, unless its first row names an image. Paths start at
    the root, beside the list, or in a folder `images` or of the list's own name there; they may lack the suffix `.jpg` or
    `.png`.

    Args:
        root: Holds the data set.
        name: The list, relative to the root.
        split: Which rows to take where the list has `options.split_column`.
        options: Names of columns.

    Raises:
        DataError: The list is missing, damaged or empty, or lacks a column.
    """
    path = root / name
    lines = read_lines(path)
    rows = _csv_rows(path, lines, split, options) if path.suffix.lower() == ".csv" else _text_rows(path, lines, split, options)
    if not rows:
        raise DataError(f"{path} needs rows for {split!r}; it has none: name another list by data.{split}_split")
    folder, suffix = _place(root, path, rows[0].name)
    return [Listed(_one_spelling(root, f"{folder}{row.name}{suffix}"), row.label) for row in rows]


def _text_rows(path: Path, lines: Sequence[str], split: Split, options: OpenOptions) -> list[Listed]:
    if lines and "\t" in lines[0]:
        first = lines[0].split("\t")
        if not any(map(is_image_name, first)) and len(lines) > 1:
            return _csv_rows(path, lines, split, options)
        table = [line.split("\t") for line in lines]
    else:
        table = [line.rsplit(maxsplit=1) for line in lines]
        if lines and len(table[0]) == 2 and is_image_name(table[0][1]) and not is_image_name(table[0][0]):
            table = [line.split(maxsplit=1) for line in lines]
    image, label = _places(table[0]) if table else (0, 1)
    for number, row in enumerate(table, start=1):
        if len(row) <= max(image, label):
            raise DataError(f"{path} needs an image and its label in each row; row {number} is {lines[number - 1]!r}: mend it")
    return [Listed(_path(row[image]), row[label].strip()) for row in table]


def _places(row: Sequence[str]) -> tuple[int, int]:
    """Columns of the path, which is the first that names an image, and of the label, which follows unless the path is last."""
    image = next((place for place, cell in enumerate(row) if is_image_name(cell.strip())), 0)
    return image, image + 1 if image + 1 < len(row) or image == 0 else image - 1


def _csv_rows(path: Path, lines: Sequence[str], split: Split, options: OpenOptions) -> list[Listed]:
    delimiter = max(",;\t", key=lines[0].count) if lines else ","
    table = list(csv.reader(lines, delimiter=delimiter))
    header = [cell.strip() for cell in table[0]] if table else []
    if any(map(is_image_name, header)):
        image, label = _places(header)
        header, start = [str(number) for number in range(len(header))], 0
        columns = [options.path_column or str(image), options.label_column or str(label)]
    else:
        start = 1
        columns = [
            choose_column(path, header, "path", options.path_column, (*_image_columns(table), *PATH_COLUMNS)),
            choose_column(path, header, "label", options.label_column, LABEL_COLUMNS),
        ]
    if options.split_column is not None:
        columns.append(choose_column(path, header, "split", options.split_column, ()))
    places = [header.index(column) for column in columns]
    rows = []
    for number, row in enumerate(table[start:], start=start + 1):
        if len(row) <= max(places):
            raise DataError(f"{path} needs {len(header)} columns; row {number} is {delimiter.join(row)!r}: mend it")
        evaluated = len(places) == 3 and row[places[2]].strip().lower() in EVALUATION_WORDS
        if len(places) == 2 or evaluated == (split == "val"):
            rows.append(Listed(_path(row[places[0]]), row[places[1]].strip()))
    return rows


def _image_columns(table: Sequence[Sequence[str]]) -> list[str]:
    """The columns that name an image in the first row, in lower case."""
    return (
        [name.strip().lower() for name, cell in zip(table[0], table[1], strict=False) if is_image_name(cell)] if table[1:] else []
    )


def _path(text: str) -> str:
    """A path as written, with the slashes of this system; Windows writes others."""
    text = text.strip()
    return text.replace("\\", "/") if "/" not in text else text


def _one_spelling(root: Path, name: str) -> str:
    """A name relative to the root where that is possible, so that `./a.png` and `a.png` are seen to be one image."""
    path = Path(name)
    whole = root.absolute()
    return (path.relative_to(whole) if path.is_absolute() and path.is_relative_to(whole) else path).as_posix()


def _place(root: Path, path: Path, first: str) -> tuple[str, str]:
    """What has to stand before and after the names of a list, so that they lead to files below the root."""
    beside = path.parent.relative_to(root) if path.is_relative_to(root) else path.parent
    folders = [Path(), beside, *(base / name for base in (beside, Path()) for name in ("images", path.stem))]
    for folder in folders:
        for suffix in TRIED_SUFFIXES:
            if (root / folder / f"{first}{suffix}").is_file():
                return "" if folder == Path() else f"{folder.as_posix()}/", suffix
    return "", ""
