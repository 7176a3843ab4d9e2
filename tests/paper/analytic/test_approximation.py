import pytest

from gcp_repro.paper.analytic.approximation import (
    DEGREES,
    RATIOS,
    pade_error,
    pade_error_constructed,
    pade_error_stored,
    pade_value_at_one,
    table6,
    table8,
    table9,
    taylor_error,
    taylor_error_constructed,
)
from gcp_repro.paper.published.published_tables import published_table
from gcp_repro.paper.tables.table import scientific
from tests.tolerances import rounding

# cut off instead of rounded in the paper: 817.8 and 1.7e-13
CUT_OFF = {(200, "0.999"): ("817", "818"), (300, "0.9"): ("1e-13", "2e-13")}


@pytest.mark.parametrize("degree", DEGREES)
@pytest.mark.parametrize("error", [taylor_error, taylor_error_constructed])
def test_taylor_errors_agree_with_the_paper_digit_by_digit(degree, error):
    printed = published_table("8").row(degree=str(degree))
    compared = [ratio for ratio in RATIOS if taylor_error(degree, ratio) > 5e-16]
    assert len(compared) >= 3
    for ratio in compared:
        expected = CUT_OFF.get((degree, ratio), (printed[ratio], printed[ratio]))
        assert printed[ratio] == expected[0]
        assert scientific(error(degree, ratio)) == expected[1]


def test_taylor_errors_below_double_precision_are_exact():
    assert taylor_error(100, "0.1") == pytest.approx(1e-101 / 0.9, rel=1e-12)


def test_pade_in_twenty_digits_is_right_to_twenty_digits():
    assert all(pade_error_constructed(100, ratio) < 1e-14 for ratio in RATIOS)


def test_pade_in_float64_loses_digits_towards_one():
    """By rounding the coefficients already; the evaluation's share is another one on every machine."""
    for error in (pade_error, pade_error_stored):
        assert error(100, "0.1") < rounding()
        assert error(100, "0.999") < 1000 * rounding(condition=1e5)  # the condition of its sums is 4e4 there
    assert pade_error_stored(100, "0.999") > 1e-11


def test_published_bound_is_the_rounding_residue_of_the_denominator():
    assert abs(pade_value_at_one(100)) / 2.0**-52 == pytest.approx(6.00e36, rel=2e-3)


def test_tables_put_published_beside_computed():
    rows = table6().rows
    assert [cell.text for cell in rows[0]][:2] == ["Taylor", "published"]
    exact = next(row for row in rows if [cell.text for cell in row[:2]] == ["Taylor", "exact"])
    assert [cell.text for cell in exact[-3:]] == ["2e-4", "36", "904"]
    for table in (table8(), table9()):
        assert {row[0].text for row in table.rows} == {f"degree {degree}" for degree in DEGREES}
        assert {cell.origin for row in table.rows for cell in row} == {"label", "published", "computed"}
