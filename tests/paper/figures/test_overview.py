import pytest

from gcp_repro.paper.figures.overview import null_space_figure, published_errors_figure, setting_errors_figure
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import write_run


@pytest.fixture
def setting(tmp_path):
    """Pade is one point worse standalone, and level hybrid; one float32 run of five diverged; Taylor was trained once."""
    for seed in range(5):
        write_run(tmp_path, meta_layer="isqrt_cov", seed=seed, final=10.0 + seed)
        write_run(tmp_path, meta_layer="svd_pade", seed=seed, final=11.0 + seed + 0.1 * (-1) ** seed)
        write_run(tmp_path, meta_layer="svd_pade", protocol="hybrid", seed=seed, final=10.0 + seed)
        status = "diverged" if seed == 4 else "finished"
        write_run(tmp_path, meta_layer="mpn_cov", dtype="float32", seed=seed, final=15.0 + seed, status=status)
    write_run(tmp_path, meta_layer="svd_taylor", final=10.5)
    (found,) = find_settings(gather([tmp_path]))
    return found


def points(figure):
    rows = dict(zip(figure.plot.layout.yaxis.tickvals, figure.plot.layout.yaxis.ticktext, strict=True))
    return {
        (trace.name, rows[round(y)].split("<")[0]): (x, x - below, x + above)
        for trace in figure.plot.data
        for x, y, below, above in zip(trace.x, trace.y, trace.error_x.arrayminus, trace.error_x.array, strict=True)
    }


def test_every_layer_stands_at_its_paired_difference_with_its_interval(setting):
    found = points(setting_errors_figure(setting))
    assert set(found) == {
        ("standalone", "svd_pade"), ("hybrid", "svd_pade"), ("standalone", "svd_taylor"), ("standalone", "mpn_cov float32")
    }  # fmt: skip
    middle, low, high = found["standalone", "svd_pade"]
    assert middle == pytest.approx(1.02)
    assert 0.8 < low < middle < high < 1.2
    assert found["hybrid", "svd_pade"] == (0.0, 0.0, 0.0)
    assert found["standalone", "svd_taylor"] == (0.5, 0.5, 0.5)  # one pair has no interval


def test_runs_that_diverged_are_named_in_their_row(setting):
    ticks = setting_errors_figure(setting).plot.layout.yaxis.ticktext
    assert [text for text in ticks if "diverged" in text] == ["mpn_cov float32<br><i>1 of 5 diverged</i>"]


def test_the_figure_says_in_words_what_it_shows(setting):
    words = setting_errors_figure(setting).words
    assert any("svd_pade +1.02 [" in text for text in words)


def test_without_the_reference_there_is_no_figure(tmp_path):
    write_run(tmp_path, meta_layer="svd_pade")
    assert setting_errors_figure(find_settings(gather([tmp_path]))[0]) is None


def test_published_differences_have_their_own_scale_and_no_interval():
    figure = published_errors_figure("digits")
    found = points(figure)
    assert found["standalone", "MPN-COV"] == pytest.approx((0.82, 0.82, 0.82))
    assert found["hybrid", "SVD-Pade"] == pytest.approx((-0.19, -0.19, -0.19))
    assert "One run each" in figure.caption


def test_published_accuracies_are_turned_into_errors():
    found = points(published_errors_figure("resnet50_birds"))
    worse = [x for (protocol, _), (x, _, _) in found.items() if protocol == "standalone"]
    assert worse
    assert all(abs(x) < 5 for x in worse)


def test_the_error_of_the_gradient_is_drawn_for_every_precision_and_route():
    figure = null_space_figure()
    assert [trace.name for trace in figure.plot.data if trace.name] == ["float32, dense", "float64, dense", "float32, gram"]
    assert figure.plot.layout.yaxis.type == "log"
