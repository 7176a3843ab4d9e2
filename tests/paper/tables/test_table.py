import pytest

from gcp_repro.paper.tables.table import Cell, Column, Table, label, number_text, scientific


def table(*groups, rows=()):
    return Table("t", "Title", tuple(Column(str(i), group) for i, group in enumerate(groups)), rows)


def test_neighbouring_columns_share_a_heading():
    assert table("", "a", "a", "b", "a").groups == [("", 1), ("a", 2), ("b", 1), ("a", 1)]
    assert table("", "").groups == []


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"table 't' needs 2 cells a row; got 1: \['x'\]"):
        table("", "", rows=((label("x"),),))


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (0.96, 1, "1"),
        (0.94, 1, "9e-1"),
        (0.96, 3, "9.60e-1"),
        (0.9996, 3, "1.00"),
        (-0.96, 1, "-1"),
        (999.4, 1, "999"),
        (999.6, 1, "1e3"),
        (12.34, 3, "12.3"),
        (1.0, 3, "1.00"),
        (-2.5e-7, 2, "-2.5e-7"),
        (float("-inf"), 1, "infinite"),
        (float("nan"), 1, "undefined"),
    ],
)
def test_numbers_are_plain_up_to_999(value, digits, text):
    assert scientific(value, digits) == text


def test_published_entries_are_numbers_or_words():
    assert number_text("-1.5") == -1.5
    assert number_text("") is None


def test_labels_are_no_numbers():
    assert label(3, "page.html") == Cell("3", None, "label", "page.html")
