"""Arms, and the rates that are chosen for them."""

import math

import pandas as pd
import pytest

from scripts.study import questions


def a_row(**columns):
    return {**questions.BASE, "clip_norm": math.nan, "status": "finished", "loss_area": 0.5, "error": 20.0, **columns}


def test_an_arm_is_one_run_a_seed():
    runs = pd.DataFrame([a_row(layer="gap", route="x", seed=seed) for seed in (0, 1)] + [a_row(layer="gap", route="y", seed=0)])
    assert list(questions.select(runs, {"layer": "gap", "route": "x"}).index) == [0, 1]
    with pytest.raises(ValueError, match=r"one run a seed.*name more columns"):
        questions.select(runs, {"layer": "gap"})


def test_best_rates_come_from_validation_images_alone():
    runs = pd.DataFrame(
        [a_row(layer="gap", split="validation", rate=rate, seed=100, error=error) for rate, error in ((0.1, 20.0), (0.2, 18.0))]
        + [a_row(layer="gap", rate=0.4, seed=0, error=1.0)]
    )
    assert questions.best_rate(runs, {"layer": "gap"}) == 0.2
    more = pd.DataFrame([a_row(layer="gap", split="validation", rate=0.1, seed=101, error=2.0)])
    assert questions.best_rate(pd.concat([runs, more]), {"layer": "gap"}) == 0.2  # another seed at one rate says nothing of rates


def test_fresh_seeds_and_planned_seeds_do_not_mix():
    rows = [a_row(layer=name, seed=seed) for name in ("gap", "seb") for seed in (0, 11, 12, 19)]
    runs = pd.DataFrame(rows)
    planned = questions.Comparison(1, "planned", {"layer": "gap"}, {"layer": "seb"})
    fresh = questions.Comparison(1, "fresh", {"layer": "gap"}, {"layer": "seb"}, "confirmation", questions.FRESH["fresh seeds"])
    assert [list(part.index) for part in planned.outcomes(runs)] == [[0, 11], [0, 11]]
    assert [list(part.index) for part in fresh.outcomes(runs)] == [[12, 19], [12, 19]]
