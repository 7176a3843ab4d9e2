import math

import numpy as np
import pytest

from gcp_repro.paper.store.statistics import paired_difference, places, summarise


def test_summary_of_known_values():
    summary = summarise([2.0, 4.0, 6.0, math.nan])
    assert (summary.n, summary.mean, summary.sd) == (3, 4.0, 2.0)


def test_summary_of_one_value_and_of_none():
    assert math.isnan(summarise([1.0]).sd)
    assert summarise([1.0]).text() == "1.00"
    assert summarise([]).text() == ""


def test_pairs_are_matched_by_seed():
    difference = paired_difference({0: 1.0, 2: 5.0, 3: 7.0}, {3: 6.0, 0: 0.0, 1: 100.0, 2: 4.0})
    assert (difference.n, difference.mean) == (3, 1.0)


def test_pairing_removes_what_seeds_have_in_common():
    seeds = np.random.default_rng(0).normal(scale=10, size=6)
    values = {seed: value + 1 + 0.01 * seed for seed, value in enumerate(seeds)}
    assert paired_difference(values, dict(enumerate(seeds))).separated


def test_two_pairs_have_no_interval():
    difference = paired_difference({0: 1.0, 1: 2.0}, {0: 0.0, 1: 0.0})
    assert math.isnan(difference.low)
    assert difference.text() == "+1.50"
    assert not difference.separated


def test_four_pairs_are_too_few_for_a_claim_however_clear():
    assert not paired_difference(dict.fromkeys(range(4), 1.0), dict.fromkeys(range(4), 0.0)).separated
    assert paired_difference(dict.fromkeys(range(5), 1.0), dict.fromkeys(range(5), 0.0)).separated


def test_interval_is_reproducible_and_near_students_for_normal_data():
    values = dict(enumerate(np.random.default_rng(1).normal(size=30)))
    first, second = (paired_difference(values, dict.fromkeys(values, 0.0)) for _ in range(2))
    assert first == second
    sample = np.array(list(values.values()))
    half = 2.045 * sample.std(ddof=1) / math.sqrt(30)  # t quantile at 29 degrees of freedom
    assert first.high - first.low == pytest.approx(2 * half, rel=0.1)


def test_coverage_with_five_pairs_is_near_nominal():
    random = np.random.default_rng(2)
    draws = (paired_difference(dict(enumerate(random.normal(size=5))), dict.fromkeys(range(5), 0.0)) for _ in range(200))
    covered = sum(difference.low <= 0 <= difference.high for difference in draws) / 200
    assert 0.86 <= covered <= 0.99


def test_places_need_separation():
    apart = {name: {seed: level + 0.01 * seed for seed in range(5)} for level, name in enumerate("abcd")}
    assert places(apart) == {"a": 1, "b": 2, "c": 3}
    noisy = {name: dict(enumerate(np.random.default_rng(ord(name)).normal(size=5))) for name in "abcd"}
    assert places(noisy) == {}


def test_entries_that_cannot_be_told_apart_share_a_place():
    values = {
        "a": {s: 1 + 0.1 * (-1) ** s for s in range(5)},
        "b": dict.fromkeys(range(5), 1.03),
        "c": dict.fromkeys(range(5), 5.0),
    }
    assert places(values) == {"a": 1, "b": 1, "c": 3}
