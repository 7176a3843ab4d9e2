import re

import pytest

from gcp_repro.paper.page.claims import make_claims, make_limits
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import write_run, write_sweep

KEYS = ["claim-errors", "claim-precision", "claim-smoothness", "claim-condition"]


@pytest.fixture
def settings(tmp_path):
    write_sweep(tmp_path, layers=("gap", "isqrt_cov", "svd_pade", "mpn_cov"))
    return find_settings(gather([tmp_path]))


def test_every_claim_has_the_papers_words_ours_and_a_figure(settings):
    claims = make_claims(settings)
    assert [claim.key for claim in claims] == KEYS
    for claim in claims:
        assert claim.paper
        assert claim.sentences
        assert claim.figures
    keys = [figure.key for claim in claims for figure in claim.figures]
    assert len(set(keys)) == len(keys)


def test_the_papers_gap_is_computed_from_its_table(settings):
    assert "standalone +0.46 to +0.91 points, hybrid -0.19 to +0.03 points" in make_claims(settings)[0].paper


def test_curves_show_both_protocols_and_the_swap(settings):
    (smoothness,) = make_claims(settings)[2].figures
    assert smoothness.plot.layout.shapes
    words = " ".join(smoothness.words)
    assert "standalone" in words
    assert "hybrid" in words
    assert "gap" not in words


def test_without_runs_the_claims_hold_what_is_printed_and_computed():
    claims = make_claims([])
    assert [claim.key for claim in claims] == KEYS
    assert [len(claim.computed) for claim in claims] == [0, 1, 0, 0]
    assert [len(claim.figures) for claim in claims] == [1, 1, 0, 0]
    assert any("No runs were given" in text for text in make_limits([]))


def test_limits_name_what_was_not_trained_and_what_would_not_have_been_seen(settings):
    limits = "\n".join(make_limits(settings))
    assert "ImageNet and fine-grained data sets, were not trained here" in limits
    assert "not trained here: svd_taylor, svd_newton, svd_trunc, svd_topn." in limits
    assert re.search(r"differences of up to \d\.\d points would not have been seen", limits)
    assert "No run was trained on a GPU." in limits


def test_few_seeds_are_a_limit(tmp_path):
    write_run(tmp_path, meta_layer="svd_pade")
    assert any(text.endswith("too few for a claim: svd_pade.") for text in make_limits(find_settings(gather([tmp_path]))))


def test_the_papers_own_experiment_is_no_limit(tmp_path):
    write_run(tmp_path, "alexnet_imagenet")
    assert not any("own experiments" in text for text in make_limits(find_settings(gather([tmp_path]))))
