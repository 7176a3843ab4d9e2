import json

import numpy as np
import pytest

from gcp_repro.paper.figures import curve_figures, quotient_figures
from gcp_repro.paper.results import gather
from gcp_repro.paper.settings import find_settings
from tests.paper.fake_runs import EPOCHS, SWAP, write_run, write_sweep


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    write_sweep(root, layers=("gap", "isqrt_cov", "svd_pade", "mpn_cov"), seeds=2)
    (setting,) = find_settings(gather([root]))
    return {figure.title: figure for figure in curve_figures(setting)}


def lines(figure):
    return {trace.name: trace for trace in figure.plot.data if trace.name}


def test_every_metric_and_diagnostic_is_drawn_for_both_protocols(figures):
    for name in (
        "Validation top-1 error",
        "Training top-1 error",
        "Condition number",
        "Beta smoothness",
        "Gradient error",
    ):
        assert {f"{name}, standalone (digits)", f"{name}, hybrid (digits)"} <= set(figures)


def test_curves_are_means_over_seeds(figures, tmp_path):
    write_run(tmp_path, meta_layer="svd_pade", seed=0, final=2.0)
    write_run(tmp_path, meta_layer="svd_pade", seed=1, final=4.0)
    (setting,) = find_settings(gather([tmp_path]))
    trace = lines(curve_figures(setting, diagnostics=False)[0])["svd_pade"]
    assert len(trace.x) == EPOCHS
    expected = setting.epochs.groupby("epoch")["val/top1_error"].mean()
    np.testing.assert_allclose(trace.y, expected, rtol=1e-5)


def test_swap_is_marked_before_the_first_epoch_of_the_layer(figures):
    hybrid = figures["Validation top-1 error, hybrid (digits)"]
    assert [shape.x0 for shape in hybrid.plot.layout.shapes] == [SWAP - 0.5]
    assert not figures["Validation top-1 error, standalone (digits)"].plot.layout.shapes


def test_hybrid_curves_stand_beside_newton_schulz(figures):
    assert set(lines(figures["Validation top-1 error, hybrid (digits)"])) == {"isqrt_cov", "svd_pade", "mpn_cov"}


def test_float32_is_dotted(figures):
    drawn = lines(figures["Validation top-1 error, standalone (digits)"])
    assert (drawn["mpn_cov"].line.dash, drawn["mpn_cov float32"].line.dash) == ("solid", "dot")
    assert drawn["mpn_cov"].line.color == drawn["mpn_cov float32"].line.color


def test_last_stage_begins_one_epoch_before_the_swap(figures):
    assert min(lines(figures["Validation top-1 error, last stage, hybrid (digits)"])["svd_pade"].x) == SWAP - 1


def test_values_that_span_decades_are_on_a_logarithmic_scale(figures):
    assert figures["Condition number, standalone (digits)"].plot.layout.yaxis.type == "log"


def test_json_is_valid_and_safe_inside_a_script_element(figures):
    for figure in figures.values():
        assert "<" not in figure.json
        assert json.loads(figure.json)["data"]


def test_rules_agree_far_from_equality_and_part_near_it():
    quotients, entries = quotient_figures()
    curves = {name: np.array(trace.y, dtype=float) for name, trace in lines(quotients).items()}
    assert set(curves) == {"svd", "trunc", "taylor", "pade"}
    assert all(curve[-1] == pytest.approx(curves["svd"][-1], rel=1e-6) for curve in curves.values())
    assert curves["taylor"][0] == pytest.approx(101, rel=1e-6)
    assert curves["trunc"][0] == pytest.approx(1e10)
    assert curves["svd"][0] > 1e15
    exact = np.array(lines(entries)["exact"].y, dtype=float)
    assert exact.min() >= 0.5 - 1e-6
    assert exact.max() <= 1
