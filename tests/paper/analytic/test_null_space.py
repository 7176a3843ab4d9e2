import pytest

from gcp_repro.paper.analytic.null_space import CHANNELS, POSITIONS, gradient_errors

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
