import pytest

from gcp_repro.errors import UnknownNameError
from gcp_repro.paper.published.published_tables import as_table, published_table, published_tables, published_value


def test_every_table_of_the_paper_is_there():
    # Table 10 of the appendix repeats Table 7
    assert set(published_tables()) == {"1", "2", "3", "4", "5", "6", "7", "8", "9", "11"}


def test_numbers_are_those_printed():
    assert published_value("2", "hybrid_best_top1", method="SVD-Pade") == 47.63
    assert published_value("3", "standalone_top1", backbone="ResNet-50", method="Vanilla") == 23.85
    assert published_value("8", "0.999", degree="100") == 904
    assert published_value("4", "birds_best", method="SVD-TopN") is None  # "does not converge"


def test_tables_agree_with_each_other_where_the_paper_repeats_a_number():
    warm, table2 = published_table("11").row(setting="1 epoch"), published_table("2").row(method="SVD-Pade")
    assert warm["final_top1"] == table2["hybrid_final_top1"]
    assert warm["best_top5"] == table2["hybrid_best_top5"]


def test_footnotes_name_rows_that_exist():
    for table in published_tables().values():
        names = {value for row in table.rows for value in row.values()}
        assert {note.row for note in table.footnotes if note.row} <= names


@pytest.mark.parametrize("number", published_tables())
def test_every_table_can_be_shown(number):
    table = as_table(number)
    assert len(table.rows) == len(published_table(number).rows)
    assert any(cell.origin == "published" and cell.value is not None for row in table.rows for cell in row)


def test_unknown_names_are_explained():
    with pytest.raises(UnknownNameError, match=r"no table of the paper '12'.*known: 1, 11, 2"):
        published_table("12")
    with pytest.raises(UnknownNameError, match="no row of Table 2 'SVD-Pad'; nearest: 'SVD-Pade'"):
        published_value("2", "hybrid_best_top1", method="SVD-Pad")
    with pytest.raises(UnknownNameError, match="no column of Table 2 'hybrid_best'"):
        published_value("2", "hybrid_best", method="SVD-Pade")


@pytest.mark.parametrize(
    ("number", "column", "places"),
    [
        ("11", "final top-1", {"2 epochs": 1, "1 epoch": 2, "no warm-up": 3}),
        ("11", "best top-1", {"3 epochs": 1, "2 epochs": 2, "1 epoch": 3}),
        ("4", "birds best", {"SVD-Pade": 1, "SVD-Trunc": 2, "SVD-Newton": 3}),
    ],
)
def test_the_best_three_are_marked(number, column, places):
    table = as_table(number)
    names = [heading.name for heading in table.columns]
    at = names.index(column)
    assert {row[0].text: row[at].place for row in table.rows if row[at].place} == places


def test_networks_are_ranked_apart():
    table = as_table("3")
    at = [heading.name for heading in table.columns].index("hybrid top-1")
    best = [(row[0].text, row[1].text) for row in table.rows if row[at].place == 1]
    assert best == [("ResNet-50", "SVD-Pade"), ("ResNet-101", "SVD-Pade")]
