"""Published numbers, the paper's and those of later work, with footnotes where they contradict themselves or their code."""

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
    "PAPER",
    "Footnote",
    "PublishedTable",
    "Work",
    "as_table",
    "published_table",
    "published_tables",
    "published_value",
    "ranked_cell",
    "works",
]

PAPER = "iccv2021"
"""The work that this package reproduces."""


@dataclass(frozen=True)
class Work:
    """A publication whose numbers are here.

    Attributes:
        key: As in `published_table(number, key)`.
        name: In headings.
        citation: Authors, title, place.
        code: Where its authors' code is.
    """

    key: str
    name: str
    citation: str
    code: str


@dataclass(frozen=True)
class Footnote:
    """A remark on a table, or on one row of it where `row` is not empty."""

    row: str
    text: str


@dataclass(frozen=True)
class PublishedTable:
    """A table of the paper, or of another work.

    Attributes:
        work: Key of the work.
        number: As the work counts: of the paper "1" to "11" (Table 10 repeats "7"); words for a table without a number.
        title: What it is about.
        quantity: What its numbers are, with the unit.
        columns: Names of the columns; the first, or the first two, name the row.
        rows: The entries as printed.
        footnotes: Remarks of this reproduction, not of the authors.
        unranked: Columns in which no entry is better than another.
    """

    work: str
    number: str
    title: str
    quantity: str
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    footnotes: tuple[Footnote, ...]
    unranked: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """In headings: "Table 5", "RiemGCP, Table 5", "DropCov, main results"."""
        number = f"Table {self.number}" if self.number.isdigit() else self.number
        return number if self.work == PAPER else f"{works()[self.work].name}, {number}"

    @property
    def accuracy(self) -> bool:
        """Whether higher is better."""
        return self.quantity.startswith("accuracy")

    def row(self, **where: str) -> Mapping[str, str]:
        """The row whose columns have the given values, as in `row(method="SVD-Pade")`.

        Raises:
            UnknownNameError: No such row. "no row of Table 2 'SVD-Pad'; nearest: 'SVD-Pade'; known: ..."
        """
        for row in self.rows:
            if all(row.get(column) == value for column, value in where.items()):
                return row
        known = {" ".join(row[column] for column in where if column in row) for row in self.rows}
        raise UnknownNameError(f"row of {self.name}", " ".join(where.values()), known)


def _read(name: str) -> list[dict[str, str]]:
    text = files("gcp_repro.paper.published").joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@functools.cache
def works() -> Mapping[str, Work]:
    """Every work that has tables here, by its key; the paper first."""
    return MappingProxyType(
        {row["work"]: Work(row["work"], row["name"], row["citation"], row["code"]) for row in _read("works.csv")}
    )


CITATION = works()[PAPER].citation


@functools.cache
def published_tables(work: str = PAPER) -> Mapping[str, PublishedTable]:
    """Every table of a work by its number.

    Raises:
        UnknownNameError: No such work.
    """
    if work not in works():
        raise UnknownNameError("published work", work, works())
    footnotes = [note for note in _read("footnotes.csv") if note["work"] == work]
    tables = {}
    for entry in _read("index.csv"):
        if entry["work"] != work:
            continue
        rows = _read(entry["file"])
        notes = tuple(Footnote(note["row"], note["text"]) for note in footnotes if note["table"] == entry["table"])
        tables[entry["table"]] = PublishedTable(
            work=work,
            number=entry["table"],
            title=entry["title"],
            quantity=entry["quantity"],
            columns=tuple(rows[0]),
            rows=tuple(MappingProxyType(row) for row in rows),
            footnotes=notes,
            unranked=frozenset(entry["unranked"].split()),
        )
    return MappingProxyType(tables)


def published_table(number: str, work: str = PAPER) -> PublishedTable:
    """A table of the paper, or of another work.

    Raises:
        UnknownNameError: No such table (10 of the paper is 7). "no table of the paper '12'; known: 1, 11, 2, ..."

    Example:
        >>> published_table("2").row(method="SVD-Pade")["standalone_final_top1"]
        '48.41'
        >>> published_table("5", "riemgcp").row(method="Pow-TMLR")["birds_top1"]
        '52.97'
    """
    tables = published_tables(work)
    if number not in tables:
        raise UnknownNameError(f"table of {'the paper' if work == PAPER else works()[work].name}", number, tables)
    return tables[number]


def published_value(number: str, column: str, work: str = PAPER, **where: str) -> float | None:
    """A published number; `None` where words are printed ("does not converge").

    Raises:
        UnknownNameError: No such table, row or column.
    """
    table = published_table(number, work)
    row = table.row(**where)
    if column not in row:
        raise UnknownNameError(f"column of {table.name}", column, row)
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


def as_table(number: str, work: str = PAPER) -> Table:
    """The published table of errors or accuracies in the report's form, best three and footnotes included."""
    table = published_table(number, work)
    rows = []
    for row in table.rows:
        rivals = [other for other in table.rows if other.get("backbone") == row.get("backbone")]
        rows.append(tuple(_cell(table, rivals, row, column) for column in table.columns))
    key = "table" if work == PAPER else f"{work}_"
    return Table(
        key=f"published_{key}{number.replace(' ', '_')}",
        title=f"{table.name}: {table.title}",
        columns=tuple(Column(name.replace("_", " ").replace("top", "top-")) for name in table.columns),
        rows=tuple(rows),
        caption=f"As published; {table.quantity}.",
        notes=tuple(f"{note.row}: {note.text}" if note.row else note.text for note in table.footnotes),
    )


def _cell(table: PublishedTable, rivals: Sequence[Mapping[str, str]], row: Mapping[str, str], column: str) -> Cell:
    if column in table.unranked:
        return Cell(row[column], number_text(row[column]), "published")
    return ranked_cell(rivals, row, column, accuracy=table.accuracy)
