import numpy as np
import pytest

from gcp_repro.paper.figures.further_figures import eigenvalue_ratio_figures, quotient_figures, seed_figures
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import EPOCHS, write_run


def lines(figure):
    return {trace.name: trace for trace in figure.plot.data if trace.name}


def test_figure_3_is_drawn_from_the_recorded_steps(tmp_path):
    for seed, largest in enumerate((4.0, 6.0)):
        run = write_run(tmp_path, meta_layer="mpn_cov", seed=seed)
        (run / "eigenvalue_ratio.csv").write_text(f"step,mean,smallest,largest\n0,3.0,2.0,{largest}\n10,1.5,1.0,2.0\n")
    settings = find_settings(gather([tmp_path]))
    (figure,) = eigenvalue_ratio_figures(settings)
    assert figure.title == "Figure 3: ratio of the first two eigenvalues over the first steps (digits)"
    line = lines(figure)["mpn_cov"]
    assert (line.x, line.y) == ((0, 10), (3.0, 1.5))
    assert figure.plot.data[0].y == (5.0, 2.0, 1.0, 2.0)  # the largest forth, the smallest back


def test_without_recorded_steps_there_is_no_figure_3(sweep_setting):
    assert eigenvalue_ratio_figures([sweep_setting]) == []


def test_spread_over_seeds_is_drawn_for_layers_with_enough_of_them(sweep_setting, tmp_path):
    (figure,) = seed_figures([sweep_setting])
    assert {"svd_pade", "isqrt_cov"} <= set(lines(figure))
    assert len(lines(figure)["svd_pade"].x) == EPOCHS
    write_run(tmp_path, seed=0)
    write_run(tmp_path, seed=1)
    assert seed_figures(find_settings(gather([tmp_path]))) == []


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
