"""The scripts behind docs/study.md: commands repeat their runs, statistics are right, the page is current."""

import json
import math

import pandas as pd
import pytest
import torch
from hydra import initialize_config_module
from omegaconf import OmegaConf

from scripts.study import comparisons, gradient_error, page, questions, rows


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


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=study", "meta_layer=isqrt_cov", "seed=3"],
        [
            "experiment=study",
            "meta_layer=mpn_cov",
            "meta_layer.dtype=float32",
            "protocol=hybrid",
            "protocol.warmup_epochs=2",
            "seed=1",
        ],
        [
            "experiment=study",
            "meta_layer=spectral",
            "meta_layer.forward=power",
            "+meta_layer.exponent=0.3",
            "data.split=validation",
        ],
        ["experiment=study", "meta_layer=gap", "model.hidden_dims=[256,256]", "schedule.milestones=[]", "gradient_clip_norm=5.0"],
        ["experiment=digits", "meta_layer=svd_pade", "data.train_size=100"],
    ],
)
def test_the_command_of_a_run_composes_its_configuration(compose_train, overrides):
    config = compose_train(*overrides)
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        found = rows.overrides_of(resolved)
    assert rows.comparable(compose_train(*found)) == rows.comparable(config)
    assert found[0] == overrides[0]
    assert len(found) <= len(overrides) + 1  # nothing that the experiment says already


def test_a_diverged_run_counts_as_chance(compose_train, tmp_path):
    config = compose_train("experiment=study", "meta_layer=svd_pade")
    versions = {"torch": "2"}
    result = {
        "status": "diverged",
        "final_top1_error": None,
        "warmup_epochs": None,
        "wall_time_seconds": 1.0,
        "versions": versions,
    }
    (tmp_path / "result.json").write_text(json.dumps(result | {"git_revision": "abc", "config_hash": "12345678"}))
    (tmp_path / "metrics.csv").write_text("epoch,train/loss\n0,1.0\n1,2.0\n")
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        row, epochs = rows.run_row(tmp_path, config)
    assert (row["error"], row["status"], len(epochs)) == (90.0, "diverged", 2)
    assert row["loss_area"] == pytest.approx((1.0 + 2.0 + 8 * math.log(10)) / 10)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_null_space_noise_is_rounding_and_symmetry_removes_it(dtype):
    """48 null dimensions at a trace of 1000: far above the floor."""
    features = gradient_error.with_trace(gradient_error.rectified_noise(64, 17), 1e3)
    published, symmetric = gradient_error.measure(features, "mpn_cov", {"route": "dense"}, dtype)
    assert 1 < published["error_median"] / published["rounding_term"] < 10
    assert symmetric["error_median"] < 0.1 * published["error_median"]
    (gram,) = gradient_error.measure(features, "mpn_cov", {"route": "gram"}, dtype)
    assert gram["error_median"] < 1e-3 * published["error_median"]


def test_the_floor_alone_below_the_threshold():
    """At a trace of 1 no noise reaches the floor; what remains is sqrt(eps) for 0."""
    features = gradient_error.with_trace(gradient_error.rectified_noise(64, 17), 1.0)
    published, _ = gradient_error.measure(features, "mpn_cov", {"route": "dense"}, "float64")
    assert published["noise_above_floor"] == 0
    assert published["error_median"] == pytest.approx(published["floor_term"], rel=0.3)
    assert torch.finfo(torch.float64).eps ** 0.5 < published["error_median"] < 1e-6


def test_comparisons_and_page_are_those_of_the_rows():
    runs = comparisons.read_runs(page.RESULTS)
    stored = pd.read_csv(page.RESULTS / "comparisons.csv")
    pd.testing.assert_frame_equal(comparisons.table(runs), stored, rtol=1e-3, check_dtype=False)
    text = page.PAGE.read_text(encoding="utf-8")
    assert page.render(text, page.read_tables(page.RESULTS)) == text
