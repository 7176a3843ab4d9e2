import pytest

from gcp_repro.errors import UnknownNameError
from gcp_repro.paper.published.published_tables import PAPER, as_table, published_table, published_tables, published_value, works

EVERY_TABLE = [(number, work) for work in works() for number in published_tables(work)]


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


def test_later_work_has_its_numbers_too():
    assert next(iter(works())) == PAPER
    assert published_value("5", "birds_top1", "riemgcp", method="Pow-TMLR") == 52.97
    assert published_value("5", "imagenet_top1", "riemgcp", method="Cho-TMLR") is None  # "N/A"
    assert published_value("4", "so_vit_10_top5", "mpa", method="MPA-Lya") == 94.58
    assert published_value("main results", "top1", "dropcov", backbone="ResNet-50", method="DropCov") == 78.19
    assert published_value("released models", "cars", "isice", backbone="VGG-16", method="iSICE") == 94.0


@pytest.mark.parametrize(("number", "work"), EVERY_TABLE)
def test_footnotes_and_unranked_columns_name_what_exists(number, work):
    table = published_table(number, work)
    names = {value for row in table.rows for value in row.values()}
    assert {note.row for note in table.footnotes if note.row} <= names
    assert table.unranked <= set(table.columns)


@pytest.mark.parametrize(("number", "work"), EVERY_TABLE)
def test_every_table_can_be_shown(number, work):
    table = as_table(number, work)
    assert len(table.rows) == len(published_table(number, work).rows)
    assert any(cell.origin == "published" and cell.value is not None for row in table.rows for cell in row)


def test_keys_and_titles_tell_works_apart():
    tables = [as_table(number, work) for number, work in EVERY_TABLE]
    assert len({table.key for table in tables}) == len({table.title for table in tables}) == len(tables)
    assert as_table("5", "riemgcp").title.startswith("RiemGCP, Table 5: ")
    assert as_table("main results", "dropcov").title.startswith("DropCov, main results: ")


def test_unknown_names_are_explained():
    with pytest.raises(UnknownNameError, match=r"no table of the paper '12'.*known: 1, 11, 2"):
        published_table("12")
    with pytest.raises(UnknownNameError, match="no row of Table 2 'SVD-Pad'; nearest: 'SVD-Pade'"):
        published_value("2", "hybrid_best_top1", method="SVD-Pad")
    with pytest.raises(UnknownNameError, match="no column of Table 2 'hybrid_best'"):
        published_value("2", "hybrid_best", method="SVD-Pade")
    with pytest.raises(UnknownNameError, match="no published work 'riemgpc'; nearest: 'riemgcp'"):
        published_table("5", "riemgpc")
    with pytest.raises(UnknownNameError, match="no table of DropCov '5'; known: main results"):
        published_table("5", "dropcov")


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


def test_times_and_sizes_are_not_ranked():
    table = as_table("4", "mpa")
    names = [heading.name for heading in table.columns]
    places = {name: [row[at].place for row in table.rows if row[at].place] for at, name in enumerate(names)}
    assert not places["time ms"]
    assert not places["so vit 14 epochs"]
    assert sorted(places["so vit 7 top-1"]) == [1, 2, 3]
