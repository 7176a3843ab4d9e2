import json

import numpy as np
import pytest

from gcp_repro.paper.figures.epoch_figures import PAPER_FIGURES, WINDOW, curve_figures
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import EPOCHS, SWAP, write_run, write_sweep


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    root = tmp_path_factory.mktemp("sweep")
    write_sweep(root, layers=("gap", "isqrt_cov", "svd_pade", "mpn_cov"), seeds=2)
    (setting,) = find_settings(gather([root]))
    return {figure.title: figure for figure in curve_figures(setting)}


def lines(figure):
    return {trace.name: trace for trace in figure.plot.data if trace.name}


def test_the_papers_figures_come_first_in_its_order(figures):
    titles = list(figures)[: len(PAPER_FIGURES)]
    assert titles == [
        "Figure 1 left: training top-5 error, standalone (digits)",
        "Figure 1 right: validation top-1 error, last stage, standalone (digits)",
        "Figure 2 left: training top-1 error, standalone (digits)",
        "Figure 2 right: beta smoothness, standalone (digits)",
        "Figure 4 left: training top-1 error, standalone (digits)",
        "Figure 4 right: beta smoothness, standalone (digits)",
        "Figure 5 left: validation top-1 error, last stage, hybrid (digits)",
        "Figure 5 right: validation top-5 error, last stage, hybrid (digits)",
    ]


def test_every_further_diagnostic_is_drawn(figures):
    for name in ("Validation top-1 error", "Condition number", "Gradient error"):
        assert {f"{name}, standalone (digits)", f"{name}, hybrid (digits)"} <= set(figures)
    assert "Condition number of the range, standalone (digits)" in figures


def test_precisions_are_compared_for_two_methods_only(figures):
    drawn = lines(figures["Figure 2 left: training top-1 error, standalone (digits)"])
    assert set(drawn) == {"isqrt_cov", "mpn_cov", "isqrt_cov float32", "mpn_cov float32"}
    assert "mpn_cov float32" not in lines(figures["Figure 4 left: training top-1 error, standalone (digits)"])


def test_figure_5_is_a_moving_average(tmp_path):
    write_run(tmp_path, meta_layer="svd_pade", protocol="hybrid")
    (setting,) = find_settings(gather([tmp_path]))
    (figure,) = [figure for figure in curve_figures(setting) if figure.title.startswith("Figure 5 left")]
    errors = setting.epochs.set_index("epoch")["val/top1_error"]
    trace = lines(figure)["svd_pade"]
    assert WINDOW == 3
    np.testing.assert_allclose(trace.y[1], errors.loc[SWAP - 1 : SWAP + 1].mean(), rtol=1e-5)
    np.testing.assert_allclose(trace.y[-1], errors.loc[EPOCHS - 2 :].mean(), rtol=1e-5)  # two epochs at the end


def test_curves_are_means_over_seeds(figures, tmp_path):
    write_run(tmp_path, meta_layer="svd_pade", seed=0, final=2.0)
    write_run(tmp_path, meta_layer="svd_pade", seed=1, final=4.0)
    (setting,) = find_settings(gather([tmp_path]))
    (figure,) = [figure for figure in curve_figures(setting) if figure.title == "Validation top-1 error, standalone (digits)"]
    trace = lines(figure)["svd_pade"]
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
    drawn = lines(figures["Gradient error, standalone (digits)"])
    assert (drawn["mpn_cov"].line.dash, drawn["mpn_cov float32"].line.dash) == ("solid", "dot")
    assert drawn["mpn_cov"].line.color == drawn["mpn_cov float32"].line.color


def test_routes_and_options_of_a_layer_have_lines_of_their_own(tmp_path):
    write_run(tmp_path, meta_layer="svd_topn")
    write_run(tmp_path / "gram", meta_layer="svd_topn", route="gram")
    write_run(tmp_path / "kept", meta_layer="svd_topn", meta_layer_options="top_n=14")
    (setting,) = find_settings(gather([tmp_path]))
    for figure in curve_figures(setting):
        dashes = [trace.line.dash for trace in lines(figure).values()]
        assert len(set(dashes)) == len(dashes) == 3


def test_last_stage_begins_one_epoch_before_the_swap(figures):
    assert min(lines(figures["Figure 5 left: validation top-1 error, last stage, hybrid (digits)"])["svd_pade"].x) == SWAP - 1


def test_values_that_span_decades_are_on_a_logarithmic_scale(figures):
    assert figures["Condition number, standalone (digits)"].plot.layout.yaxis.type == "log"


def test_json_is_valid_and_safe_inside_a_script_element(figures):
    for figure in figures.values():
        assert "<" not in figure.json
        assert json.loads(figure.json)["data"]


def of(root, title):
    (setting,) = find_settings(gather([root]))
    return next((figure for figure in curve_figures(setting) if figure.title == title), None)


def test_a_diverged_run_does_not_set_the_axis(tmp_path):
    write_run(tmp_path, meta_layer="isqrt_cov", final=3.0)
    run = write_run(tmp_path, meta_layer="svd_pade", status="diverged")
    rows = (run / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/top1_error")
    changed = [",".join("900" if number == column else cell for number, cell in enumerate(row.split(","))) for row in rows[1:]]
    (run / "metrics.csv").write_text("\n".join([rows[0], *changed]) + "\n")
    figure = of(tmp_path, "Validation top-1 error, standalone (digits)")
    assert figure.plot.layout.yaxis.range[1] < 60
    assert "Runs that diverged do not set the scale." in figure.caption


def test_one_value_throughout_is_no_figure(tmp_path):
    run = write_run(tmp_path)
    rows = [row.split(",") for row in (run / "metrics.csv").read_text().splitlines()]
    column = rows[0].index("diagnostics/gradient_error")
    lines = [rows[0], *([*row[:column], "0", *row[column + 1 :]] for row in rows[1:])]
    (run / "metrics.csv").write_text("\n".join(",".join(line) for line in lines) + "\n")
    assert of(tmp_path, "Gradient error, standalone (digits)") is None
    assert of(tmp_path, "Condition number, standalone (digits)") is not None


def test_one_seed_has_no_band_and_the_caption_names_none(tmp_path):
    write_run(tmp_path)
    figure = of(tmp_path, "Validation top-1 error, standalone (digits)")
    assert figure.caption.startswith("One run a line;")
    assert len(figure.plot.data) == 1


def test_lines_on_one_another_are_one_with_their_names_beside(tmp_path):
    for layer in ("isqrt_cov", "svd_pade", "svd_taylor", "svd_trunc"):
        for seed in range(3):
            write_run(tmp_path, meta_layer=layer, seed=seed, final=3.0 + seed)
    write_run(tmp_path, meta_layer="svd_topn", final=60.0)
    figure = of(tmp_path, "Validation top-1 error, standalone (digits)")
    assert set(lines(figure)) == {"4 level with one another", "svd_topn"}
    assert figure.notes[0].endswith("drawn as one: isqrt_cov, svd_pade, svd_taylor, svd_trunc.")
