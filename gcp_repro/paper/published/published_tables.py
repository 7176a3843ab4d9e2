"""The paper's numbers, as printed, with footnotes where the paper contradicts itself, its code, or arithmetic."""

from __future__ import annotations

import csv
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from types import MappingProxyType

from gcp_repro.errors import UnknownNameError
from gcp_repro.paper.tables.table import Cell, Column, Table, label, number_text

__all__ = [
    "CITATION",
    "Footnote",
    "PublishedTable",
    "as_table",
    "published_table",
    "published_tables",
    "published_value",
    "ranked_cell",
]

CITATION = (
    "Song, Sebe, Wang: Why Approximate Matrix Square Root Outperforms Accurate SVD in Global Covariance Pooling? "
    "ICCV 2021 (arXiv:2105.02498)"
)


@dataclass(frozen=True)
class Footnote:
    """A remark on a table, or on one row of it where `row` is not empty."""

    row: str
    text: str


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper.

    Attributes:
        number: As the paper counts, "1" to "11" (Table 10 repeats "7").
        title: What it is about.
        quantity: What its numbers are, with the unit.
        columns: Names of the columns; the first, or the first two, name the row.
        rows: The entries as printed.
        footnotes: Remarks of this reproduction, not of the authors.
    """

    number: str
    title: str
    quantity: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    footnotes: tuple[Footnote, ...]

    def row(self, **where: str) -> Mapping[str, str]:
        """The row whose columns have the given values, as in `row(method="SVD-Pade")`.

        Raises:
            UnknownNameError: No such row. "no row of Table 2 'SVD-Pad'; nearest: 'SVD-Pade'; known: ..."
        """
        for row in self.rows:
            if all(row.get(column) == value for column, value in where.items()):
                return row
        known = {" ".join(row[column] for column in where if column in row) for row in self.rows}
        raise UnknownNameError(f"row of Table {self.number}", " ".join(where.values()), known)


def _read(name: str) -> list[dict[str, str]]:
    text = files("gcp_repro.paper.published").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@functools.cache
def published_tables() -> Mapping[str, PublishedTable]:
    """Every table of the paper by its number."""
    footnotes = _read("footnotes.csv")
    tables = {}
    for entry in _read("index.csv"):
        rows = _read(entry["file"])
        notes = tuple(Footnote(note["row"], note["text"]) for note in footnotes if note["table"] == entry["table"])
        tables[entry["table"]] = PublishedTable(
            number=entry["table"],
            title=entry["title"],
            quantity=entry["quantity"],
            columns=tuple(rows[0]),
            rows=tuple(MappingProxyType(row) for row in rows),
            footnotes=notes,
        )
    return MappingProxyType(tables)


def published_table(number: str) -> PublishedTable:
    """A table of the paper.

    Raises:
        UnknownNameError: The paper has no such table (10 is 7). "no table of the paper '12'; known: 1, 11, 2, ..."

    Example:
        >>> published_table("2").row(method="SVD-Pade")["standalone_final_top1"]
        '48.41'
    """
    tables = published_tables()
    if number not in tables:
        raise UnknownNameError("table of the paper", number, tables)
    return tables[number]


def published_value(number: str, column: str, **where: str) -> float | None:
    """A published number; `None` where the paper prints words ("does not converge").

    Raises:
        UnknownNameError: No such table, row or column.
    """
    row = published_table(number).row(**where)
    if column not in row:
        raise UnknownNameError(f"column of Table {number}", column, row)
    return number_text(row[column])


def ranked_cell(rows: Sequence[Mapping[str, str]], row: Mapping[str, str], column: str, *, accuracy: bool = False) -> Cell:
    """An entry of `row`, marked if it is among the best three of its column in `rows`, as the paper marks them.

    Args:
        rows: What it is ranked among.
        row: One of them.
        column: Its column.
        accuracy: Whether higher is better.
    """
    value = number_text(row[column])
    if value is None:  # "does not converge"
        return label(row[column])
    others = {number for candidate in rows if (number := number_text(candidate[column])) is not None}
    better = sum(other > value if accuracy else other < value for other in others)
    return Cell(row[column], value, "published", place=better + 1 if better < 3 else None)


def as_table(number: str) -> Table:
    """The published table of errors or accuracies in the report's form, best three and footnotes included."""
    table = published_table(number)
    rows = []
    for row in table.rows:
        rivals = [other for other in table.rows if other.get("backbone") == row.get("backbone")]
        rows.append(tuple(ranked_cell(rivals, row, column, accuracy=number == "4") for column in table.columns))
    return Table(
        key=f"published_table{number}",
        title=f"Table {number}: {table.title}",
        columns=tuple(Column(name.replace("_", " ").replace("top", "top-")) for name in table.columns),
        rows=tuple(rows),
        caption=f"As published; {table.quantity}.",
        notes=tuple(f"{note.row}: {note.text}" if note.row else note.text for note in table.footnotes),
    )
