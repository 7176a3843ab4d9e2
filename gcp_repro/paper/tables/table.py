"""The one form in which every table of the report is held, whatever it is written as.

A table is data: columns (optionally under a group heading) and rows of cells. A cell knows its text, the number to sort by, where
it comes from (published, measured, computed) and what it links to; `export.py` writes tables as Markdown, csv and LaTeX and the
page's template writes them as HTML.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

__all__ = ["MISSING", "Cell", "Column", "Origin", "Table", "label", "number_text", "scientific"]

Origin = Literal["label", "published", "measured", "computed", "missing"]


@dataclass(frozen=True)
class Cell:
    """One entry of a table.

    Attributes:
        text: As shown.
        value: The number behind the text, by which a column is sorted; `None` sorts last.
        origin: Where the number comes from.
        link: Address relative to the page, or an anchor on it.
        place: 1, 2 or 3 when the entry is marked among the best three of its column.
        anchor: Name under which the page can be entered at this cell.
    """

    text: str
    value: float | None = None
    origin: Origin = "label"
    link: str | None = None
    place: int | None = None
    anchor: str | None = None


@dataclass(frozen=True)
class Column:
    """A column's heading and the heading it shares with its neighbours (empty: none)."""

    name: str
    group: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its title, caption and notes.

    Attributes:
        key: File-name-like name, unique in a report: "table6", "digits".
        title: Heading.
        columns: One per entry of a row.
        rows: Cells, as many in each as there are columns.
        caption: What the numbers are, in one or two sentences.
        notes: Footnotes.
    """

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"table {self.key!r} needs {len(self.columns)} cells a row; got {len(row)}: {[cell.text for cell in row]}"
                )

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Group headings from left to right, each with the number of neighbouring columns it spans."""
        spans: list[tuple[str, int]] = []
        for column in self.columns:
            if spans and spans[-1][0] == column.group:
                spans[-1] = (column.group, spans[-1][1] + 1)
            else:
                spans.append((column.group, 1))
        return spans if any(name for name, _ in spans) else []


MISSING = Cell("", origin="missing")
"""An entry for which there is no number."""


def label(text: object, link: str | None = None) -> Cell:
    """A cell that names something."""
    return Cell(str(text), link=link)


def scientific(value: float, digits: int = 1) -> str:
    """A number with `digits` significant digits, as the paper prints errors: plain from 1 to 999, else with an exponent.

    Example:
        >>> [scientific(v) for v in (0.0, 2.39e-4, 36.2, 904.1)], scientific(4.549e17, 3), scientific(float("inf"))
        (['0', '2e-4', '36', '904'], '4.55e17', 'infinite')
    """
    if not math.isfinite(value):
        return "infinite" if math.isinf(value) else "undefined"
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.{digits - 1}e}".split("e")
    if int(exponent) >= 0 and abs(value) < 999.5:
        return f"{value:.{max(0, digits - 1 - int(exponent))}f}"
    return f"{mantissa}e{int(exponent)}"


def number_text(text: str) -> float | None:
    """The number that a published entry stands for, `None` for words.

    Example:
        >>> number_text("3.41e14"), number_text("inf"), number_text("does not converge")
        (341000000000000.0, inf, None)
    """
    try:
        return float(text)
    except ValueError:
        return None
