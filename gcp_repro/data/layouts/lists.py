"""Lists of images with their labels: which columns of a table hold them, and where the paths start."""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NamedTuple

from gcp_repro.data.image_set import Split, listing, one_form
from gcp_repro.data.layouts.files import choose_column
from gcp_repro.data.layouts.list_tables import ListTable, is_image_path, read_list_table
from gcp_repro.data.layouts.split_names import USUAL_NAMES
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import entries_of
from gcp_repro.errors import DataError

__all__ = ["Listed", "read_list"]

log = logging.getLogger(__name__)

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "filepaths", "image", "image_path", "image_id", "id", "img")
LABEL_COLUMNS = ("label", "labels", "class", "class_id", "target", "category", "wnid", "class_name")
TRUTH = frozenset({"true", "1", "1.0", "yes"})
EVALUATION_WORDS = TRUTH.union(USUAL_NAMES["val"])
TRAINING_WORDS = frozenset({*USUAL_NAMES["train"], "trainval", "false", "0", "0.0", "no", ""})
TRIED_IMAGES = 30  # of a list, to see where its paths start: the first may be missing
TRIED_FOLDERS = 100
TRIED_SUFFIXES = ("", ".jpg", ".jpeg", ".png", ".JPEG", ".JPG")


NumberedRow = tuple[int, list[str]]


class Listed(NamedTuple):
    """A row of a list: an image's name in the root, and its label as written."""

    name: str
    label: str


def read_list(root: Path, name: str, split: Split, options: OpenOptions) -> list[Listed]:
    """The images on a list; `read_list_table` says how it may be written.

    Where no header names the columns, the label follows the path, or stands before it where the path is last, as in MXNet's
    `number label path`. A list of paths alone has the images' folders as labels. Paths start at the root, beside the list, or in
    a folder there: `images`, that of the list's own name, or the only one that holds them. They may lack the suffix `.jpg` or
    `.png`. Of absolute paths, as of another machine, of addresses, and of paths that begin above the root, what all have in
    common before that is dropped.

    Args:
        root: Holds the data set.
        name: The list, relative to the root.
        split: Which rows to take where the list has `options.split_column`.
        options: Names of columns.

    Raises:
        DataError: The list is missing, damaged or empty, or lacks a column.
    """
    path = root / name
    rows = _rows(path, read_list_table(path), split, options)
    if not rows:
        raise DataError(f"{path} needs rows for {split!r}; it has none: name another list by data.{split}_split")
    dropped, folder = _place(root, path, [row.name for row in rows])
    present: dict[str, set[str]] = {}
    names = (_with_suffix(root, f"{folder}{row.name.removeprefix(dropped)}", present) for row in rows)
    return [Listed(_as_on_disk(root, name), row.label) for name, row in zip(names, rows, strict=True)]


def _rows(path: Path, table: ListTable, split: Split, options: OpenOptions) -> list[Listed]:
    if table.header is None and options.label_column is None and (named := _with_folders_as_labels(table.rows)):
        return named
    places = _columns(path, table, options)
    numbered = list(enumerate(table.rows, start=1 if table.header is None else 2))
    for number, row in numbered:
        if len(row) <= max(places):
            raise DataError(f"{path} needs an image and its label in each row; row {number} is {' '.join(row)!r}: mend it")
    if len(places) == 3:
        numbered = _rows_of_split(path, numbered, places[2], split, "" if table.header is None else table.header[places[2]])
    rows = []
    for number, row in numbered:
        rows.append(Listed(_path(row[places[0]]), one_form(row[places[1]].strip())))
        if not rows[-1].label:
            raise DataError(f"{path} needs a label in each row; row {number}, {rows[-1].name}, has none: add it, or drop the row")
    return rows


def _with_folders_as_labels(rows: Sequence[Sequence[str]]) -> list[Listed]:
    """Images of a list of paths alone; `[]` of any other list, and where one folder has them all."""
    parts = [_path(row[0]).split("/") for row in rows if len(row) == 1]
    if len(parts) < len(rows) or any(len(part) < 2 for part in parts) or len({part[-2] for part in parts}) < 2:
        return []
    return [Listed("/".join(part), one_form(part[-2])) for part in parts]


def _rows_of_split(path: Path, rows: Sequence[NumberedRow], place: int, split: Split, column: str) -> list[NumberedRow]:
    """The rows that a column gives to a split; of several names of evaluation one is taken, the same as of folders."""
    words = [row[place].strip().lower() for _, row in rows]
    for (number, row), word in zip(rows, words, strict=True):
        if word not in EVALUATION_WORDS | TRAINING_WORDS:
            raise DataError(
                f"{path} needs a split in each row; row {number} has {row[place]!r}: write one of "
                f"{', '.join(sorted(EVALUATION_WORDS))}, or for training one of {', '.join(sorted(TRAINING_WORDS - {''}))} or "
                "nothing"
            )
    if "train" in column.lower() and TRUTH.intersection(words):
        raise DataError(
            f"{path} needs a column that marks evaluation images; {column!r} seems to mark training images: write train and test "
            "in it"
        )
    present = [word for word in USUAL_NAMES["val"] if word in words]
    if split == "val" and len(present) > 1:
        log.warning("%s has rows of %s; those of %s alone are evaluated", path, listing(present), present[0])
    wanted = TRAINING_WORDS if split == "train" else EVALUATION_WORDS.difference(present[1:])
    return [row for row, word in zip(rows, words, strict=True) if word in wanted]


def _columns(path: Path, table: ListTable, options: OpenOptions) -> list[int]:
    """Where paths and labels are, and what marks evaluation images where that is asked for."""
    first = table.rows[0] if table.rows else []
    if table.header is None:
        names = list(map(str, range(max(len(first), 2))))
        image = next((place for place, cell in enumerate(first) if is_image_path(cell)), 0)
        label = image + 1 if image + 1 < len(first) or image == 0 else image - 1
        ambiguous = len(first) > 2  # columns without names, of which a name may be any
        chosen = [
            choose_column(path, names, kind, given, ()) if given is not None and (given.isdecimal() or ambiguous) else str(place)
            for kind, given, place in (("path", options.path_column, image), ("label", options.label_column, label))
        ]
    else:
        names = table.header
        images = [name.lower() for name, cell in zip(names, first, strict=False) if is_image_path(cell)]
        chosen = [
            choose_column(path, names, "path", options.path_column, (*images, *PATH_COLUMNS)),
            choose_column(path, names, "label", options.label_column, LABEL_COLUMNS),
        ]
    if options.split_column is not None:
        chosen.append(choose_column(path, names, "split", options.split_column, ()))
    return [names.index(name) for name in chosen]


def _path(text: str) -> str:
    """A path as written, with the slashes of this system; Windows writes others."""
    text = text.strip()
    return text.replace("\\", "/") if "/" not in text or PureWindowsPath(text).drive else text


def _as_on_disk(root: Path, name: str) -> str:
    """A name relative to the root where that is possible, so that `./a.png` and `a.png` are seen to be one image."""
    path = Path(name)
    whole = root.absolute()
    name = (path.relative_to(whole) if path.is_absolute() and path.is_relative_to(whole) else path).as_posix()
    if name.isascii():
        return name
    forms = (name, unicodedata.normalize("NFC", name), unicodedata.normalize("NFD", name))
    return next((form for form in forms if (root / form).exists()), name)


def _place(root: Path, path: Path, names: Sequence[str]) -> tuple[str, str]:
    """What is to be dropped before the names of a list, and put before them instead, so that they lead to files."""
    beside = path.parent.relative_to(root) if path.is_relative_to(root) else path.parent
    inside = [base / name for base in (beside, Path()) for name in ("images", path.stem)]
    first, last = min(names), max(names)  # what they begin with in common, all do
    for name in names[:TRIED_IMAGES]:
        parts = name.split("/")
        for start in range(len(parts)):
            dropped = "".join(f"{part}/" for part in parts[:start])
            if start and not (_is_absolute(name) or parts[start - 1] in (root.absolute().name, root.resolve().name)):
                continue
            if not (first.startswith(dropped) and last.startswith(dropped)):
                break
            for folder in (Path(), beside, *([] if dropped else inside)):
                for suffix in TRIED_SUFFIXES:
                    if (root / folder / f"{'/'.join(parts[start:])}{suffix}").is_file():
                        return dropped, "" if folder == Path() else f"{folder.as_posix()}/"
    return "", _folder_with(root, beside, path.stem.lower(), names[:TRIED_IMAGES])


def _folder_with(root: Path, beside: Path, stem: str, names: Sequence[str]) -> str:
    """The one folder in the root or beside a list that holds its images; of several the one whose name begins the list's."""
    folders = {base / entry.name for base in (Path(), beside) for entry in entries_of(root / base) if entry.is_dir()}
    if len(folders) > TRIED_FOLDERS:
        return ""
    paths = [f"{name}{suffix}" for name in names for suffix in TRIED_SUFFIXES]
    holding = [folder for folder in sorted(folders) if any((root / folder / path).is_file() for path in paths)]
    chosen = holding if len(holding) == 1 else [folder for folder in holding if stem.startswith(folder.name.lower())]
    return f"{chosen[0].as_posix()}/" if len(chosen) == 1 else ""


def _is_absolute(name: str) -> bool:
    return PurePosixPath(name).is_absolute() or PureWindowsPath(name).is_absolute() or "://" in name


def _with_suffix(root: Path, name: str, present: dict[str, set[str]]) -> str:
    """A name as it is, or with the suffix of the image that is there; `present` keeps what folders hold."""
    if is_image_path(name):
        return name
    folder, _, file = name.rpartition("/")
    if folder not in present:
        present[folder] = {entry.name for entry in entries_of(root / folder)}
    return next((f"{name}{suffix}" for suffix in TRIED_SUFFIXES if f"{file}{suffix}" in present[folder]), name)
