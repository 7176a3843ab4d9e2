import csv
from pathlib import Path

import pytest
import torch

from gcp_repro.linalg import operator_for
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.training.diagnostics.diagnostic import Sample
from gcp_repro.training.diagnostics.spectrum import ConditionNumber, DifferenceQuotients, EigenvalueRatio, SpectrumSummary
from gcp_repro.training.run import train
from tests.tolerances import relative_error, rounding

SIGNS = torch.tensor([[1.0, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])


def orthogonal_features(*deviations):
    """Three centred, orthogonal channels over four positions: eigenvalues are the squared deviations."""
    return (torch.tensor(deviations)[:, None] * SIGNS[: len(deviations)])[None]


def quotients(features, name, **options):
    network = torch.nn.Module()
    network.meta_layer = build_meta_layer(name, **options)
    return DifferenceQuotients().measure(network, Sample(torch.empty(0), features, torch.empty(0)), 0.1)


def test_full_rank():
    summary = SpectrumSummary.of(orthogonal_features(4.0, 0.5, 1.0))
    assert summary.condition_number.tolist() == summary.condition_number_rank.tolist() == pytest.approx([64.0])
    assert summary.eigenvalue_ratio.tolist() == pytest.approx([16.0])
    assert summary.smallest_eigenvalue.tolist() == summary.smallest_eigenvalue_floored.tolist() == pytest.approx([0.25])
    assert summary.rank.tolist() == [3]


def test_deficient_rank_is_that_of_the_floor():
    features = orthogonal_features(3.0, 1.5, 0.0)[:, :, :4] + 7.0
    summary = SpectrumSummary.of(torch.cat([features, features[:, :1] * 0], dim=1))  # 4 channels, N - 1 = 3
    assert summary.condition_number.tolist() == pytest.approx([9 / 2.2e-16])
    assert summary.condition_number_rank.tolist() == pytest.approx([9 / 2.2e-16])
    assert summary.rank.tolist() == [2]
    assert summary.smallest_eigenvalue_floored.tolist() == [2.2e-16]
    assert abs(summary.smallest_eigenvalue.item()) < 9 * rounding(4)


def test_rank_one():
    two_positions = torch.tensor([[[1.0, -1.0], [2.0, -2.0], [2.0, -2.0]]])  # rank 1 at most, and it has 1
    summary = SpectrumSummary.of(two_positions)
    assert summary.condition_number.item() > 1 / rounding(3)
    assert summary.condition_number_rank.tolist() == pytest.approx([1.0])
    assert summary.rank.tolist() == [1]


def test_every_number_is_logged_as_a_mean_over_images():
    features = torch.cat([orthogonal_features(4.0, 0.5, 1.0), orthogonal_features(2.0, 1.0, 1.0)])
    values = ConditionNumber().measure(torch.nn.Module(), Sample(torch.empty(0), features, torch.empty(0)), 0.1)
    assert list(values) == list(SpectrumSummary._fields)
    assert values["eigenvalue_ratio"] == pytest.approx((16 + 4) / 2)


@pytest.mark.parametrize("route", ["dense", "gram"])
def test_largest_quotient_is_that_of_the_closest_eigenvalues(route):
    features = orthogonal_features(2.0, 1.0, 1.5).double()  # 4, 1, 2.25: the closest two are 1.25 apart
    expected = 1 / 1.25 if route == "dense" else 1.0  # on route gram a zero stands for the null space: 1 - 0
    assert quotients(features, "mpn_cov", route=route)["largest_quotient"] == pytest.approx(expected)
    assert quotients(features, "mpn_cov", route=route)["overflow_share"] == 0
    assert quotients(features, "svd_trunc", route=route, max_gradient=0.3)["largest_quotient"] == pytest.approx(0.3)


def test_share_of_overflow_counts_pairs():
    """Five channels at rank 2: the three eigenvalues at the floor make 3 of 10 pairs equal."""
    features = torch.zeros(1, 5, 4, dtype=torch.float64)
    features[:, :2] = orthogonal_features(2.0, 1.0).double()
    values = quotients(features, "mpn_cov", route="dense")
    assert values["overflow_share"] == pytest.approx(30)
    assert values["largest_quotient"] == pytest.approx(1.0, rel=1e-6)  # 1 / (1 - EPS): infinite ones do not count
    assert quotients(features, "svd_trunc", route="dense") == {
        "largest_quotient": pytest.approx(1e10), "overflow_share": 0
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "route"), [("mpn_cov", "dense"), ("svd_topn", "dense"), ("mpn_cov", "gram"), ("svd_pade", "gram")]
)
def test_the_spectrum_is_the_one_that_the_layer_uses(name, route):
    features = torch.randn(3, 12, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    operator = operator_for(build_meta_layer(name, route=route).spec, 12)
    output = features.new_empty(3, *operator.output_shape(12, 5))
    saved = [features.new_empty(3, *shape) for shape in operator.saved_shapes(12, 5)]
    operator.forward(features, output, *saved)
    spectrum = operator.spectrum(features)
    own = spectrum if route == "dense" else spectrum[:, 1:]  # led by the zero for the null space
    assert relative_error(own, saved[0]) < rounding(12)


@pytest.mark.parametrize("name", ["gap", "isqrt_cov", "svd_newton", "svd_lyapunov", "bcnn", "g2denet"])
def test_rules_without_quotients_have_none(name):
    assert quotients(orthogonal_features(2.0, 1.0, 1.5), name) == {}


@pytest.mark.parametrize("shape", [(3, 12, 5), (3, 4, 9), (2, 1, 6), (2, 5, 1)])
def test_the_ratio_of_the_first_steps_is_that_of_the_summary(shape, tmp_path):
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    callback = EigenvalueRatio(tmp_path / "ratio.csv")
    callback.measure(torch.nn.Module(), Sample(torch.empty(0), features, torch.empty(0)), 0.1)
    expected = SpectrumSummary.of(features).eigenvalue_ratio
    (row,) = callback.rows
    assert [row["mean"], row["smallest"], row["largest"]] == pytest.approx(
        [f(expected).item() for f in (torch.mean, min, max)],
        rel=1e-6,  # the file has seven digits
    )


def test_eigenvalue_ratios_of_the_first_steps_are_written(compose_tiny):
    config = compose_tiny(
        "callbacks=eigenvalue_ratio", "callbacks.eigenvalue_ratio.num_steps=11", "callbacks.eigenvalue_ratio.every_n_steps=3"
    )
    train(config)
    rows = list(csv.DictReader((Path(config.paths.run_dir) / "eigenvalue_ratio.csv").read_text().splitlines()))
    assert [int(row["step"]) for row in rows] == [0, 3, 6, 9]  # of 16, four an epoch
    for row in rows:
        assert 1 <= float(row["smallest"]) <= float(row["mean"]) <= float(row["largest"])
