"""Lists as tables of text: whatever separates their columns, with a header or without."""

from __future__ import annotations

import csv
import itertools
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from gcp_repro.data.layouts.files import read_lines
from gcp_repro.data.storage import IMAGE_SUFFIXES, is_image_name
from gcp_repro.errors import DataError

__all__ = ["ListTable", "is_image_path", "read_list_table"]

COMMENT = "# "
DELIMITERS = ",;\t|"
IMAGE_AND_MORE = re.compile(rf"(.+?(?:{'|'.join(map(re.escape, IMAGE_SUFFIXES))}))\s+(.+)", re.IGNORECASE)


class ListTable(NamedTuple):
    """The rows of a list, and the names of its columns where it says them."""

    header: list[str] | None
    rows: list[list[str]]


def read_list_table(path: Path) -> ListTable:
    """Columns separated by commas, semicolons, tabs or blanks, or the keys of JSON objects, one a line (`.jsonl`).

    Excel's first line `sep=;` is heeded, and lines before the table that begin with `# ` are passed over. A csv file has a
    header unless its first row names an image; any other file has one where its second row names an image and the first does not.

    Raises:
        DataError: The file is missing, no text, or no JSON.
    """
    if path.suffix.lower() == ".json":
        raise DataError(
            f"{path} needs to be a list with a row an image; it is JSON: write it as csv, or an object a line (.jsonl)"
        )
    lines = list(itertools.dropwhile(lambda line: line.startswith(COMMENT), read_lines(path)))
    if path.suffix.lower() == ".jsonl":
        return _objects(path, lines)
    is_csv = path.suffix.lower() == ".csv"
    delimiter = _delimiter(lines, is_csv=is_csv)
    if lines and lines[0] == f"sep={delimiter}":
        lines = lines[1:]
    rows = _by_blanks(lines) if delimiter is None else _cells(lines, delimiter)
    if rows and not _names_image(rows[0]) and (is_csv or (len(rows) > 1 and (delimiter == "\t" or _names_image(rows[1])))):
        return ListTable(rows[0], rows[1:])
    return ListTable(None, rows)


def is_image_path(text: str) -> bool:
    """Whether a cell is the path of an image, of whatever system, in whatever folder."""
    return is_image_name(text.replace("\\", "/").rpartition("/")[2])


def _names_image(row: Sequence[str]) -> bool:
    """Whether a cell of a row is the path of an image."""
    return any(map(is_image_path, row))


def _delimiter(lines: Sequence[str], *, is_csv: bool) -> str | None:
    """What separates the columns; None for blanks."""
    first = lines[0] if lines else ""
    if len(first) == 5 and first.startswith("sep=") and first[-1] in DELIMITERS:
        return first[-1]
    if is_csv:
        return max(DELIMITERS, key=first.count)
    if "\t" in first:
        return "\t"
    for delimiter in ",;|":  # part of a file's name, unless an image's whole name stands beside it
        if any(len(row) > 1 and _names_image(row) for row in _cells(lines[:2], delimiter)):
            return delimiter
    return None


def _cells(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """Rows that hold anything; spreadsheets add others."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    return [row for row in rows if any(row)]


def _by_blanks(lines: Sequence[str]) -> list[list[str]]:
    """A path and a label, or the other way round, or a path and several columns; a path may hold blanks itself."""
    if any(line.startswith('"') for line in lines[:2]):
        return _cells([" ".join(line.split()) for line in lines], " ")
    if lines and len(lines[0].split()) > 2:
        words = [line.split() for line in lines]
        if all(len(row) > 2 and all(map(str.isdecimal, row[1:])) for row in words) or _is_indexed(words):
            return words
    rows = [line.rsplit(maxsplit=1) for line in lines]
    if any(len(row) == 2 and is_image_path(row[1]) and not is_image_path(row[0]) for row in rows[:2]):
        return [line.split(maxsplit=1) for line in lines]
    return [
        row if len(row) < 2 or row[0].lower().endswith(IMAGE_SUFFIXES) else _after_image(line, row)
        for line, row in zip(lines, rows, strict=True)
    ]


def _is_indexed(rows: Sequence[Sequence[str]]) -> bool:
    """Whether each row is a number of its own, an image and more."""
    return len({row[0] for row in rows}) == len(rows) > 1 and all(
        len(row) > 2 and row[0].isdecimal() and is_image_path(row[1]) for row in rows
    )


def _after_image(line: str, row: list[str]) -> list[str]:
    """An image and a label of several words, or several columns where the first is a number; other rows stay as they are."""
    found = IMAGE_AND_MORE.fullmatch(line)
    if found is None:
        return row
    image, rest = found.groups()
    return [image, *rest.split()] if rest.split()[0].isdecimal() else [image, rest]


def _objects(path: Path, lines: Sequence[str]) -> ListTable:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise DataError(f"{path} needs a JSON object in each line; line {number} is none ({error}): mend it") from error
        if not isinstance(row, dict):
            raise DataError(f"{path} needs a JSON object in each line; line {number} is none but {line[:40]}: mend it")
        rows.append(row)
    header = list(rows[0]) if rows else []
    return ListTable(header, [[_cell(row.get(key)) for key in header] for row in rows])


def _cell(value: Any) -> str:
    """A value as text; what holds several values has none."""
    return "" if value is None or isinstance(value, list | dict) else str(value)
