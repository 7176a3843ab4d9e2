"""Estimates of covariances against their definitions, at 60 digits where they are quotients."""

import mpmath as mp
import pytest
import torch

from gcp_repro.linalg import covariance
from gcp_repro.linalg.estimators import SHRINKAGES, ledoit_wolf, oas, shrink, standardise
from tests.linalg.reference import DIGITS, moment, to_mp
from tests.tolerances import relative_error, rounding


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def spread(*shape, seed=0):
    """Channels of different scale and mean."""
    scales = torch.logspace(0, -1, shape[-2], dtype=torch.float64)[:, None]
    return scales * noise(*shape, seed=seed) + 3


def weight_by_definition(name, x):
    """Of one image, from sums over its positions."""
    s, c, n = moment(x), x.rows, x.cols
    trace = mp.fsum(s[i, i] for i in range(c))
    square = mp.fsum(v * v for v in s)
    if name == "oas":
        factor = 1 - mp.mpf(2) / c
        return min(mp.mpf(1), (factor * square + trace**2) / ((n + factor) * (square - trace**2 / c)))
    means = mp.matrix([mp.fsum(x[i, :]) / n for i in range(c)])
    distance = square - trace**2 / c
    noise = mp.mpf(0)
    for k in range(n):
        column = x[:, k] - means
        noise += mp.fsum(v * v for v in column * column.T - s) / n**2
    return min(noise, distance) / distance


@pytest.mark.parametrize("name", SHRINKAGES)
@pytest.mark.parametrize("shape", [(1, 4, 9), (1, 6, 4), (1, 3, 40)])
def test_weights_are_those_of_their_definition(name, shape):
    x = spread(*shape)
    found = SHRINKAGES[name](x - x.mean(-1, keepdim=True))
    with mp.workdps(DIGITS):
        expected = float(weight_by_definition(name, to_mp(x[0])))
    assert abs(found.item() - expected) <= rounding(shape[2]) * 10  # of a difference of moments, here a tenth of them


def test_weights_are_between_0_and_1_and_1_for_a_multiple_of_the_identity():
    rows = torch.eye(4, dtype=torch.float64).repeat(1, 2) * torch.tensor([1.0, -1.0], dtype=torch.float64).repeat_interleave(4)
    for weight in (ledoit_wolf, oas):
        assert weight(rows[None]).item() == 1
        assert weight(torch.zeros(1, 4, 5, dtype=torch.float64)).item() == 1
        for seed in range(20):
            assert 0 <= weight(noise(1, 5, 3, seed=seed)).item() <= 1


@pytest.mark.parametrize("weight", [0.25, ledoit_wolf, oas])
def test_features_have_the_shrunk_covariance_and_their_mean(weight):
    x = spread(2, 5, 7)
    s = covariance(x)
    w = weight(x - x.mean(-1, keepdim=True)) if callable(weight) else weight
    target = s.diagonal(dim1=-2, dim2=-1).mean(-1)[:, None, None] * torch.eye(5, dtype=torch.float64)
    shrunk = shrink(x, weight)
    assert shrunk.shape == (2, 5, 17)
    assert relative_error(covariance(shrunk), (1 - w) * s + w * target) < rounding(17)
    assert relative_error(shrunk.mean(-1), x.mean(-1)) < rounding(17)


@pytest.mark.parametrize("weight", [0.25, ledoit_wolf, oas])
def test_gradients_of_what_is_shrunk(weight):
    """Also through the weight and the trace."""
    assert torch.autograd.gradcheck(lambda x: covariance(shrink(x, weight)), spread(2, 3, 5).requires_grad_())


def test_correlations():
    x = spread(2, 4, 9)
    found = covariance(standardise(x))
    s = covariance(x)
    scale = s.diagonal(dim1=-2, dim2=-1).sqrt()
    assert relative_error(found, s / (scale[:, :, None] * scale[:, None])) < rounding(9)
    assert torch.autograd.gradcheck(lambda x: covariance(standardise(x)), x.requires_grad_())


def test_channels_that_hardly_change_have_their_correlations():
    """Deviations of 1e-9 of the mean are known to 1e-7."""
    deviations = noise(1, 4, 9)
    expected = covariance(standardise(deviations))
    assert relative_error(covariance(standardise(1 + 1e-9 * deviations)), expected) < rounding(9, 1e9)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1e20, 1e-20])
def test_constant_channels_have_no_correlations_and_no_gradient(value):
    """Their deviations from a mean that is rounded are noise, however large the constant."""
    x = spread(1, 3, 7)
    x[:, 1] = value
    x.requires_grad_()
    found = covariance(standardise(x))
    (gradient,) = torch.autograd.grad(found.sum(), x)
    assert found[0, 1].abs().max() <= rounding(7) * max(value, 1)
    assert found[0, [0, 2], [0, 2]].sub(1).abs().max() < rounding(7)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("weight", [0.25, ledoit_wolf, oas])
def test_constant_features_stay_constant(weight):
    x = torch.full((1, 3, 4), 2.5, dtype=torch.float64, requires_grad=True)
    shrunk = shrink(x, weight)
    (gradient,) = torch.autograd.grad(covariance(shrunk).sum(), x)
    assert torch.equal(shrunk, torch.full((1, 3, 10), 2.5, dtype=torch.float64))
    assert gradient.isfinite().all()


@pytest.mark.parametrize("weight", [0.25, ledoit_wolf, oas])
def test_a_single_number_has_a_gradient(weight):
    """Nothing is known of its variance, which is 0 whatever the weight."""
    x = torch.ones(1, 1, 1, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(shrink(x, weight).sum(), x)
    assert gradient == 3
