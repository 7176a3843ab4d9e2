"""Statistics of the study by hand, and its stored comparisons."""

import math

import pandas as pd
import pytest

from scripts.study import comparisons, page


def test_holm_by_hand():
    assert comparisons.holm([0.01, 0.04, 0.03, math.nan]) == pytest.approx([0.03, 0.06, 0.06, math.nan], nan_ok=True)
    assert comparisons.holm([0.5, 0.9]) == [1.0, 1.0]


def test_paired_difference_by_hand():
    """Differences 1, 2, 3: mean 2, standard error 1/sqrt(3), quantile of Student's t with 2 degrees 4.3027."""
    arm, reference = pd.Series({0: 2.0, 1: 4.0, 2: 6.0, 9: 50.0}), pd.Series({2: 3.0, 1: 2.0, 0: 1.0})
    found = comparisons.paired(arm, reference)
    assert (found["n"], found["difference"], found["positive"]) == (3, 2.0, 3)
    assert (found["low"], found["high"]) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
    assert found["p"] == pytest.approx(0.0741799)
    assert found["p_sign"] == pytest.approx(2 / 2**3)  # all three signs are equal


def test_the_sign_test_drops_ties_and_needs_no_spread():
    zero = pd.Series(dict.fromkeys(range(8), 0.0))
    found = comparisons.paired(pd.Series({0: 0.0} | dict.fromkeys(range(1, 7), 1.0)), zero)
    assert found["p_sign"] == pytest.approx(2 / 2**6)
    assert math.isnan(comparisons.paired(zero, zero)["p_sign"])
    assert comparisons.paired(zero, zero)["p"] == 1.0


def test_a_hash_of_digits_stays_text(tmp_path):
    """12e45678 is a number to a csv reader."""
    for name in ("runs", "epochs"):
        (tmp_path / f"{name}.csv").write_text("config_hash,hidden,decays\n12e45678,,5 8\n00012345,,\n")
    assert list(comparisons.read_runs(tmp_path)["config_hash"]) == ["12e45678", "00012345"]
    assert list(comparisons.read_runs(tmp_path)["decays"]) == ["5 8", ""]
    assert list(comparisons.read_epochs(tmp_path)["config_hash"]) == ["12e45678", "00012345"]


def test_stored_comparisons_are_those_of_the_rows():
    stored = pd.read_csv(page.RESULTS / "comparisons.csv")
    pd.testing.assert_frame_equal(comparisons.table(comparisons.read_runs(page.RESULTS)), stored, rtol=1e-3, check_dtype=False)
