"""The laws of the gradient's error and what is fitted to them."""

import numpy as np
import pandas as pd
import pytest

from scripts.study import law, page


def test_an_exponent_is_the_slope_of_logarithms():
    rows = pd.DataFrame({"null_dimension": [8, 32, 64, 128]})
    values = pd.Series([1e9, *(5.0 * np.array([32.0, 64.0, 128.0]) ** 2.5)])  # the smallest is left out
    found = law.exponent(rows, values)
    assert found["value"] == pytest.approx(2.5)
    assert found["high"] - found["low"] == pytest.approx(0, abs=1e-6)
    assert found["rows"] == 3


def test_the_law_from_sizes_by_hand():
    """84 sqrt(2^-52) 60 * 20^2 / sqrt(100 * 128 * 48 * (80 + 12))."""
    row = {"dtype": "float64", "noise_above_floor": 20.0, "null_dimension": 80, "rank": 48.0, "trace": 100.0, "channels": 128}
    expected = 84 * 2.0**-26 * 60 * 400 / (100 * 128 * 48 * 92) ** 0.5
    assert law.from_sizes(pd.DataFrame([row])).item() == pytest.approx(expected)


def test_a_fresh_measurement_follows_both_laws(monkeypatch):
    """One small size: 48 null dimensions at a trace of 100, where the page gives factors of 3 and 4."""
    monkeypatch.setattr(law, "BATCHES", 1)
    for dtype in ("float64", "float32"):
        row = pd.DataFrame([law.by_dimension(96, dtype)])
        assert 1 / 3 < (row["error_median"] / law.two_terms(row)).item() < 3
        assert 1 / 4 < (row["error_median"] / law.from_sizes(row)).item() < 4


def test_stored_numbers_are_those_of_the_rows():
    found = law.numbers(*(pd.read_csv(page.RESULTS / f"{name}.csv") for name in ("gradient_error", "exponent")))
    stored = pd.read_csv(page.RESULTS / "law.csv")
    pd.testing.assert_frame_equal(found, stored, rtol=1e-2, check_dtype=False)
