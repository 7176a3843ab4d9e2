import pytest
import torch

from gcp_repro.paper.analytic.null_space import (
    CHANNELS,
    IMAGES,
    POSITIONS,
    gradient_errors,
    gradient_of,
    norms,
    random_upstream,
    rectified_noise,
    trace_of,
    with_trace,
)

# Bounds of an order of magnitude: what is computed is rounding noise, which differs from machine to machine.
MOST = max(CHANNELS) - POSITIONS + 1


def by_null_space(dtype, route):
    return {error.null_space: error.median for error in gradient_errors(dtype, route)}


def test_the_dense_gradient_in_float32_is_wrong_with_a_null_space_and_right_without():
    errors = by_null_space("float32", "dense")
    assert set(errors) == {max(0, channels - POSITIONS + 1) for channels in CHANNELS}
    assert errors[0] < 1e-4
    assert errors[MOST] > 1e-2


@pytest.mark.parametrize(("dtype", "route"), [("float64", "dense"), ("float32", "gram")])
def test_float64_or_the_route_without_a_null_space_heal_it(dtype, route):
    assert by_null_space(dtype, route)[MOST] < 1e-3


def test_ends_enclose_the_median():
    for error in gradient_errors("float32", "dense"):
        assert 0 <= error.smallest <= error.median <= error.largest


def test_noise_is_rectified_differs_by_seed_and_gets_the_trace():
    features = with_trace(rectified_noise(5, 7, seed=3), 60.0)
    assert features.shape == (IMAGES, 5, 7)
    assert features.min() == 0
    covariances = torch.stack([torch.cov(image, correction=0) for image in features])
    torch.testing.assert_close(trace_of(features), covariances.diagonal(dim1=-2, dim2=-1).sum(-1))
    torch.testing.assert_close(trace_of(features), torch.full((IMAGES,), 60.0, dtype=torch.float64))
    assert not torch.equal(rectified_noise(5, 7), rectified_noise(5, 7, seed=3))


def test_gradients_and_their_norms_are_those_of_each_image():
    features = rectified_noise(4, 3)
    upstream = random_upstream(IMAGES, 4)
    weights = torch.arange(12.0 * 10, dtype=torch.float64).reshape(12, 10)
    gradient = gradient_of(lambda x: x.flatten(1) @ weights, features, upstream)
    torch.testing.assert_close(gradient, (upstream @ weights.T).reshape(features.shape))
    torch.testing.assert_close(norms(gradient)[5], gradient[5].norm())
