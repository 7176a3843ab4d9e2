import csv

import pytest
from markdown_it import MarkdownIt

from gcp_repro.paper.tables.export import to_csv, to_latex, to_markdown
from gcp_repro.paper.tables.table import Cell, Column, Table, label, scientific

TABLE = Table(
    "small",
    "Errors & places",
    (Column("layer"), Column("top-1", "measured"), Column("top-5", "measured")),
    ((label("svd_pade"), Cell("3.2 ± 0.1", 3.2, "measured", place=1), Cell("1|2")), (label("gap"), Cell("5"), Cell(""))),
    caption="Percent.",
    notes=("100% made up",),
)


def test_csv_reads_back():
    rows = list(csv.reader(to_csv(TABLE).splitlines()))
    assert rows == [["layer", "measured: top-1", "measured: top-5"], ["svd_pade", "3.2 ± 0.1", "1|2"], ["gap", "5", ""]]


def test_markdown_has_as_many_columns_in_every_row():
    lines = [line for line in to_markdown([TABLE]).splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in lines} == {4}
    assert "**3.2 ± 0.1** (1)" in lines[2]


@pytest.mark.parametrize(
    "text",
    [
        "<img src=x onerror=alert(1)>", "&lt;b&gt;", "[click](javascript:alert(1))", "![x](http://x/y.png)",
        "**bold** _it_ `code`", "a\n\n# heading\n- list", "# heading", "- list", "1. list", "2) list", "+ list", "> quote",
        "---", "a | b \\",
        "$x$", "~~gone~~", "snake_case_name, svd_pade -0.5 3.25 %", "-0.5", "0.5 %",
    ],
)  # fmt: skip
def test_markdown_shows_text_as_it_is(text):
    """Whatever a run's directory is called, a reader of Markdown makes plain text of it, as a browser does of the page."""
    table = Table("t", text, (Column(text),), ((Cell(text),),), caption=text, notes=(text,))
    tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(to_markdown([table]))
    shown = [child for token in tokens if token.type == "inline" for child in token.children]
    assert {child.type for child in shown} == {"text"}
    lines = ["".join(child.content for child in token.children) for token in tokens if token.type == "inline"]
    assert lines == [" ".join(text.split())] * 5
    assert " ".join(token.tag for token in tokens if token.nesting == 1) == "h2 table thead tr th tbody tr td p ul li p"


def test_latex_is_escaped_and_balanced():
    text = to_latex([TABLE])
    assert r"Errors \& places" in text
    assert r"svd\_pade & \textbf{3.2 $\pm$ 0.1}$^1$" in text
    assert r"100\% made up" in text
    assert r"\multicolumn{2}{l}{measured}" in text
    assert text.count(r"\begin{") == text.count(r"\end{")


def test_groups_span_their_columns():
    assert TABLE.groups == [("", 1), ("measured", 2)]


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="table 'bad' needs 1 cells a row; got 2"):
        Table("bad", "", (Column("a"),), ((label("1"), label("2")),))


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.0464, 1, "5e-2"),
        (59.9, 1, "60"),
        (4.855, 1, "5"),
        (903.9, 1, "904"),
        (3.24e20, 3, "3.24e20"),
        (float("nan"), 1, "undefined"),
    ],
)
def test_numbers_are_written_as_the_paper_does(value, digits, text):
    assert scientific(value, digits) == text
