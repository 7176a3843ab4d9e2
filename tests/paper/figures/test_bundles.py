import pandas as pd
import pytest

from gcp_repro.paper.figures.bundles import FEWEST, level_with_one_another


def curves(*offsets, std=0.0):
    return {
        f"layer{number}": pd.DataFrame({"mean": [10.0 + offset, 5.0 + offset], "std": std})
        for number, offset in enumerate(offsets)
    }


def test_few_lines_stay_lines():
    assert level_with_one_another(curves(*[0.0] * (FEWEST - 1)), logarithmic=False) == []


@pytest.mark.parametrize(("std", "level"), [(0.0, 4), (0.1, 4), (0.5, 5)])
def test_what_the_seeds_spread_over_counts_as_level(std, level):
    found = level_with_one_another(curves(0.0, 0.01, -0.01, 0.0, 0.9, std=std), logarithmic=False)
    assert len(found) == level
    assert ("layer4" in found) == (level == 5)


def test_on_a_logarithmic_scale_factors_count():
    heights = {"a": 1e6, "b": 1.1e6, "c": 9e5, "d": 1e6, "e": 1e3}
    values = {name: pd.DataFrame({"mean": [1.0, height], "std": 0.0}) for name, height in heights.items()}
    assert level_with_one_another(values, logarithmic=True) == ["a", "b", "c", "d"]


def test_a_curve_that_ends_early_is_judged_where_it_is():
    short = {"short": pd.DataFrame({"mean": [10.0], "std": [0.0]})}
    assert "short" in level_with_one_another(curves(0.0, 0.0, 0.0, 0.0) | short, logarithmic=False)
