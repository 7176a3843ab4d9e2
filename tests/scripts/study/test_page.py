"""The page is that of the rows."""

import pandas as pd
import pytest

from scripts.study import page, values


def test_tables_and_numbers_of_the_page_are_those_of_the_rows():
    tables = page.read_tables(page.RESULTS)
    numbers = {}
    for path in page.PAGES:
        text = path.read_text(encoding="utf-8")
        assert page.render(text, tables) == text
        numbers[path.name] = len(page.VALUE.findall(text))
    assert numbers["study.md"] > 40  # sentences take their numbers from rows
    assert numbers["findings.md"] > 5


def test_a_number_is_replaced_where_it_stands():
    row = {"name": "exponent", "value": 2.0, "low": 1.5, "high": 2.5, "rows": 7}
    text = "a power of <!-- value: law; exponent -->9<!-- end -->, <!-- value: law; exponent -->p < 9<!-- end -->"
    found = page.VALUE.sub(lambda match: match[1] + values.value({"law": pd.DataFrame([row])}, match["name"]) + match[3], text)
    assert found.count("-->2 [1.5, 2.5]<!--") == 2


COMPARISON = {
    "question": 2,
    "comparison": "linear head, rate 0.1",
    "outcome": "error",
    "n": 6,
    "difference": -0.329,
    "low": -0.53,
    "high": -0.128,
    "p_holm": 0.0335,
    "failed": 0,
    "positive": 0,
    "p_sign": 0.03125,
}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({}, "-0.33 points [-0.53, -0.13], p = 0.034, 6 pairs"),
        ({"p_holm": 1e-5, "failed": 2}, "-0.33 points [-0.53, -0.13], p < 0.001, 6 pairs, 2 of them failed"),
        ({"n": 0}, "not run"),
    ],
)
def test_a_difference_in_words(changes, text):
    tables = {"comparisons": pd.DataFrame([COMPARISON | changes])}
    assert values.value(tables, "comparisons; 2; linear head, rate 0.1; error") == text


def test_a_sign_test_in_words():
    tables = {"comparisons": pd.DataFrame([COMPARISON])}
    assert values.value(tables, "signs; 2; linear head, rate 0.1; error") == "0 of 6 pairs, p = 0.031"


def test_a_factor_in_words():
    row = {
        "predictor": "beta",
        "over": "arms",
        "measure": "largest over smallest",
        "n": 9,
        "value": 5004.0,
        "low": None,
        "high": None,
    }
    assert values.value({"predictors": pd.DataFrame([row])}, "predictors; beta; arms; largest over smallest") == "5,000"


def test_a_misspelt_number_is_refused():
    with pytest.raises(ValueError, match=r"needs one row; linear head, rate 7 fits 0: correct its name"):
        values.value({"comparisons": pd.DataFrame([COMPARISON])}, "comparisons; 2; linear head, rate 7; error")
