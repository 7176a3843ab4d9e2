import re

import pytest

from gcp_repro.paper.page.findings import find
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import write_run, write_sweep


def sentences(root):
    return [finding.text for finding in find(find_settings(gather([root])))]


def write_pair(root, gap, isqrt_cov, seeds=5):
    for seed in range(seeds):
        write_run(root, meta_layer="gap", dtype=None, seed=seed, final=gap(seed))
        write_run(root, meta_layer="isqrt_cov", seed=seed, final=isqrt_cov(seed))


@pytest.mark.parametrize(
    ("gap", "isqrt_cov", "expected"),
    [
        (6.0, 3.0, "Covariance pooling beats average pooling"),
        (3.0, 6.0, "Average pooling beats covariance pooling"),
    ],
)
def test_the_better_pooling_is_named(tmp_path, gap, isqrt_cov, expected):
    write_pair(tmp_path, lambda seed: gap + 0.1 * seed, lambda seed: isqrt_cov + 0.1 * seed)
    assert any(text.startswith(expected) and "5 pairs" in text for text in sentences(tmp_path))


def test_no_winner_without_separation(tmp_path):
    write_pair(tmp_path, lambda seed: 3.0 + (-1) ** seed, lambda seed: 3.0)
    assert any("cannot be told apart" in text for text in sentences(tmp_path))
    assert not any("beats" in text for text in sentences(tmp_path))


def test_no_claim_from_few_seeds(tmp_path):
    write_pair(tmp_path, lambda seed: 9.0, lambda seed: 3.0, seeds=3)
    texts = sentences(tmp_path)
    assert any("3 pairs of seeds, too few for a claim (at least 5)" in text for text in texts)
    assert not any("beats" in text for text in texts)


def test_layers_that_do_not_differ_are_said_not_to(tmp_path):
    for seed in range(5):
        write_run(tmp_path, meta_layer="isqrt_cov", seed=seed, final=3.0 + seed)
        write_run(tmp_path, meta_layer="svd_pade", seed=seed, final=3.0 + seed + 0.1 * (-1) ** seed)
    end = r"from isqrt_cov by more than its interval over seeds \(intervals reach from -0\.1\d to \+0\.1\d points\)\."
    assert any(re.fullmatch(f"Standalone, float64: svd_pade does not differ {end}", text) for text in sentences(tmp_path))
    for seed in range(5):
        write_run(tmp_path, meta_layer="svd_taylor", seed=seed, final=3.0 + seed + 0.1 * (-1) ** seed)
    assert any(re.fullmatch(f"Standalone, float64: none of 2 layers differs {end}", text) for text in sentences(tmp_path))


def test_layers_that_differ_are_named_with_the_number_expected_by_chance(tmp_path):
    for seed in range(5):
        write_run(tmp_path, meta_layer="isqrt_cov", seed=seed, final=3.0)
        write_run(tmp_path, meta_layer="svd_pade", seed=seed, final=3.0 + 0.1 * (-1) ** seed)
        write_run(tmp_path, meta_layer="svd_topn", seed=seed, final=60.0 + seed)
    (text,) = [text for text in sentences(tmp_path) if text.startswith("Standalone, float64")]
    assert "1 of 2 layers can be told apart from isqrt_cov, worse (points" in text
    assert "svd_topn +59.00" in text
    assert "0.1 would be by chance" in text


def test_precision_divergence_condition_and_gradients(tmp_path):
    write_sweep(tmp_path)
    texts = "\n".join(sentences(tmp_path))
    assert "mpn_cov in float32: 8." in texts
    assert "1 of 5 runs diverged" in texts
    assert "Diverged: 1 of 90 runs: mpn_cov float32 (1)." in texts
    assert "floored at EPS as in the paper, fell from 3.5e14" in texts
    assert "Gradient error, median over epochs and seeds: isqrt_cov " in texts


def test_runs_that_diverged_count_as_worse_and_a_layer_that_always_does_is_named(tmp_path):
    for seed in range(5):
        status = "diverged" if seed == 3 else "finished"
        write_run(tmp_path, meta_layer="mpn_cov", dtype="float32", seed=seed, status=status, final=4.0 + seed)
        write_run(tmp_path, meta_layer="mpn_cov", seed=seed, final=4.5 if seed == 0 else 3.0)
        write_run(tmp_path, meta_layer="svd_pade", dtype="float32", seed=seed, status="diverged")
        write_run(tmp_path, meta_layer="svd_pade", seed=seed, final=3.0)
    texts = sentences(tmp_path)
    assert any("4 pairs; worse or diverged in 4 of 5 pairs); 1 of 5 runs diverged." in text for text in texts)
    assert "svd_pade float32: 5 of 5 runs diverged." in texts


def test_smoothness_is_told_by_precision(tmp_path):
    write_sweep(tmp_path)
    (text,) = [text for text in sentences(tmp_path) if "beta-smoothness" in text]
    assert re.search(
        r"isqrt_cov \d[\d.]*, 7 other layers in float64 [\d.]+( to [\d.]+)?, isqrt_cov float32 [\d.]+, mpn_cov float32 [\d.]+\.",
        text,
    )


def test_precisions_are_compared_on_the_same_route(tmp_path):
    for seed in range(5):
        write_run(tmp_path, meta_layer="mpn_cov", dtype="float32", seed=seed, final=8.0)
        write_run(tmp_path, meta_layer="mpn_cov", seed=seed, final=3.0)
        write_run(tmp_path / "gram", meta_layer="mpn_cov", seed=seed, final=1.0, route="gram")
    (text,) = [text for text in sentences(tmp_path) if "in float32" in text]
    assert text.startswith("mpn_cov in float32: 8.00 ± 0.00% against 3.00 ± 0.00% in float64 (paired difference +5.00 points")


def test_precisions_on_different_routes_are_compared_and_the_routes_named(tmp_path):
    for seed in range(5):
        write_run(tmp_path, meta_layer="isqrt_cov", dtype="float32", seed=seed, final=4.0)
        write_run(tmp_path, meta_layer="isqrt_cov", seed=seed, final=3.0, route="auto")
    (text,) = [text for text in sentences(tmp_path) if "in float32" in text]
    assert text.startswith(
        "isqrt_cov in float32 on route dense: 4.00 ± 0.00% against 3.00 ± 0.00% in float64 on route auto (paired difference +1.00"
    )


def test_precisions_of_other_options_are_not_compared(tmp_path):
    write_run(tmp_path, meta_layer="svd_topn", dtype="float32")
    write_run(tmp_path, meta_layer="svd_topn", meta_layer_options="top_n=14")
    assert not any("in float32" in text for text in sentences(tmp_path))


def test_nothing_is_said_about_no_runs():
    assert find([]) == []
