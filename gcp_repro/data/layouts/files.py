"""Reading the small files that describe a data set, with errors that name file and line."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.io import loadmat

from gcp_repro.errors import DataError
from gcp_repro.stand_ins import refuse_stand_in

__all__ = ["choose_column", "lines_of", "mat_strings", "mat_table", "read_columns", "read_lines", "read_mat", "whole_number"]


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises:
        DataError: The file is missing or no text.
    """
    refuse_stand_in(path)
    try:
        return lines_of(path.read_bytes())
    except OSError as error:
        raise DataError(f"a text file is needed at {path}; reading it gave {error}: fetch it again") from error
    except UnicodeDecodeError as error:
        if b"\0" in error.object:
            raise DataError(f"a text file is needed at {path}; it is another kind of file: name one in its place") from error
        raise DataError(
            f"a text file in UTF-8 is needed at {path}; reading it gave {error}: save it as UTF-8 (in Excel: CSV UTF-8)"
        ) from error


def lines_of(content: bytes) -> list[str]:
    """The lines of a text in UTF-8 or UTF-16 that are not blank, without the mark that Windows' editors put at the start.

    Raises:
        UnicodeDecodeError: It is none.
    """
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    if b"\0" in content and not wide:
        raise UnicodeDecodeError("utf-8", content, content.index(b"\0"), content.index(b"\0") + 1, "no text has zeros")
    return [line.strip() for line in content.decode("utf-16" if wide else "utf-8-sig").splitlines() if line.strip()]


def read_columns(path: Path, columns: int) -> list[list[str]]:
    """Rows of a file of columns separated by blanks; the last column may hold blanks itself.

    Raises:
        DataError: A row has too few columns.
    """
    rows = [line.split(maxsplit=columns - 1) for line in read_lines(path)]
    for number, row in enumerate(rows, start=1):
        if len(row) != columns:
            raise DataError(f"{path} needs {columns} columns; row {number} is {' '.join(row)!r}: fetch the file again")
    return rows


def choose_column(source: Path | str, columns: Sequence[str], kind: str, given: str | None, usual: Sequence[str]) -> str:
    """The column of a table that holds paths (or images), labels or splits.

    Args:
        source: The table, for messages.
        columns: Its columns.
        kind: "path", "label" or "split", as in the options `data.path_column`, ...
        given: The user's choice.
        usual: Names that are tried where there is none, the likeliest first.

    Raises:
        DataError: There is no such column, or more than one.
    """
    found = given if given in columns else None
    if given is None:
        lower = {column.lower(): column for column in reversed(columns)}
        found = next((lower[name] for name in usual if name in lower), None)
    if found is not None and columns.count(found) > 1:
        raise DataError(f"{source} needs one column {found!r}; it has {columns.count(found)}: rename or remove the others")
    if found is not None:
        return found
    raise DataError(
        f"{source} needs a column {given or ' or '.join(usual[:3])!r}; it has {', '.join(columns)}: name one by "
        f"data.{kind}_column, or is it another table?"
    )


def whole_number(value: Any, source: Path | str) -> int:
    """An integer from a file, which came as text or as a number of any type.

    Raises:
        DataError: It is none.
    """
    try:
        number = int(value)
        if isinstance(value, str | bytes) or number == value:
            return number
    except (TypeError, ValueError, OverflowError):
        pass
    raise DataError(f"{source} needs whole numbers; it holds {value!r}: fetch the file again")


def read_mat(path: Path, *variables: str) -> list[Any]:
    """Variables of a MATLAB file, singleton dimensions dropped.

    Raises:
        DataError: The file is missing, damaged, or lacks a variable.
    """
    refuse_stand_in(path)
    if not path.is_file():
        raise DataError(f"a MATLAB file is needed at {path}; there is none: fetch it again, or check data.root")
    try:
        content = loadmat(path, appendmat=False, squeeze_me=True)
    except Exception as error:  # scipy raises what the damaged file makes it raise
        raise DataError(f"a MATLAB file is needed at {path}; reading it gave {error}: fetch it again") from error
    absent = [name for name in variables if name not in content]
    if absent:
        present = ", ".join(name for name in content if not name.startswith("__"))
        raise DataError(f"{path} needs the variable {absent[0]!r}; it holds {present}: it is another file of that name")
    return [content[name] for name in variables]


def mat_strings(cells: Any) -> list[str]:
    """A cell array of strings, which is a bare string when it has one cell, or the padded rows of a character matrix."""
    return [str(cell).rstrip() for cell in np.atleast_1d(cells)]


def mat_table(path: Path, variable: str, *fields: str) -> list[tuple[Any, ...]]:
    """Rows of a struct array, reduced to some of its fields.

    Raises:
        DataError: As `read_mat`, or a field is missing.
    """
    (array,) = read_mat(path, variable)
    array = np.atleast_1d(array)
    for field in fields:
        if field not in (array.dtype.names or ()):
            raise DataError(
                f"{path} needs the field {field!r} in {variable!r}; it has {', '.join(array.dtype.names or ())}: "
                "is it the file without labels, or one of another data set?"
            )
    return [tuple(row[field] for field in fields) for row in array]
