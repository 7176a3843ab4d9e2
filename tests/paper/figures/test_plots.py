import pandas as pd
import pytest

from gcp_repro.paper.figures.plots import spans_decades


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ([1.0, 31.0], True),
        ([1.0, 29.0], False),
        ([0.0, 100.0], False),
        ([2.2e-16] * 2, True),
        ([float("nan")], False),
        ([], False),
    ],
)
def test_numbers_over_decades_and_tiny_ones_are_on_a_logarithmic_scale(values, logarithmic):
    assert spans_decades(pd.Series(values, dtype=float)) is logarithmic
