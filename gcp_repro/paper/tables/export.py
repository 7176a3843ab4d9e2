"""Tables as Markdown, csv and LaTeX, for papers and other programs."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable

from gcp_repro.paper.tables.table import Cell, Table

__all__ = ["to_csv", "to_latex", "to_markdown"]

LATEX_ESCAPES = str.maketrans(
    {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}",
     "^": r"\textasciicircum{}",
     "\\": r"\textbackslash{}", "±": r"$\pm$", "<": r"$<$", ">": r"$>$", "|": r"$|$"}
)  # fmt: skip


def _heading(table: Table) -> list[str]:
    return [f"{column.group}: {column.name}" if column.group else column.name for column in table.columns]


def to_markdown(tables: Iterable[Table]) -> str:
    """All tables in one document; the best three are bold, with their place."""
    return "\n".join(_markdown_table(table) for table in tables)


def _markdown_table(table: Table) -> str:
    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cells)} |"

    lines = [f"## {_markdown(table.title)}", "", line(map(_markdown, _heading(table))), line("---" for _ in table.columns)]
    lines += [line(_markdown_cell(cell) for cell in row) for row in table.rows]
    lines += ["", _markdown_line(table.caption)] if table.caption else []
    lines += [f"\n- {_markdown_line(note)}" for note in table.notes]
    return "\n".join(lines) + "\n"


def _markdown_cell(cell: Cell) -> str:
    text = _markdown(cell.text)
    return f"**{text}** ({cell.place})" if cell.place else text


def _markdown(text: str) -> str:
    """Plain text in one line: names of experiments and layers come from files that anybody may have written."""
    text = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"[\\`*\[\]|~$]|(?<!\w)_|_(?!\w)", r"\\\g<0>", text)


def _markdown_line(text: str) -> str:
    """The same at the start of a line, where a sign or number could begin a heading or a list."""
    return re.sub(r"^(\d*)([#+=.)-])(?!\d)", r"\1\\\2", _markdown(text))


def to_csv(table: Table) -> str:
    """One table: a line of headings and the cells' texts."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_heading(table))
    writer.writerows([cell.text for cell in row] for row in table.rows)
    return text.getvalue()


def to_latex(tables: Iterable[Table]) -> str:
    """All tables as floats for the booktabs package; the best three in bold, with their place as a superscript."""
    return "% needs \\usepackage{booktabs}\n" + "\n".join(_latex_table(table) for table in tables)


def _latex_table(table: Table) -> str:
    notes = " ".join((table.caption, *table.notes)).strip()
    lines = [
        r"\begin{table}",
        rf"\caption{{{_latex(table.title)}. {_latex(notes)}}}",
        rf"\label{{tab:{table.key}}}",
        rf"\begin{{tabular}}{{{'l' * len(table.columns)}}}",
        r"\toprule",
    ]
    if table.groups:
        lines.append(" & ".join(rf"\multicolumn{{{span}}}{{l}}{{{_latex(name)}}}" for name, span in table.groups) + r" \\")
    lines += [" & ".join(_latex(column.name) for column in table.columns) + r" \\", r"\midrule"]
    lines += [" & ".join(_latex_cell(cell) for cell in row) + r" \\" for row in table.rows]
    return "\n".join((*lines, r"\bottomrule", r"\end{tabular}", r"\end{table}", ""))


def _latex(text: str) -> str:
    return " ".join(text.split()).translate(LATEX_ESCAPES)


def _latex_cell(cell: Cell) -> str:
    return rf"\textbf{{{_latex(cell.text)}}}$^{cell.place}$" if cell.place else _latex(cell.text)
