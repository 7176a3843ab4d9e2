"""The gradient's error and its two causes."""

import pytest
import torch

from gcp_repro.paper.analytic.null_space import rectified_noise, with_trace
from scripts.study import gradient_error


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_null_space_noise_is_rounding_and_symmetry_removes_it(dtype):
    """48 null dimensions at a trace of 1000: far above the floor."""
    features = with_trace(rectified_noise(64, 17), 1e3)
    published, symmetric = gradient_error.measure(features, "mpn_cov", {"route": "dense"}, dtype)
    assert 1 < published["error_median"] / published["rounding_term"] < 10
    assert symmetric["error_median"] < 0.1 * published["error_median"]
    (gram,) = gradient_error.measure(features, "mpn_cov", {"route": "gram"}, dtype)
    assert gram["error_median"] < 1e-3 * published["error_median"]


def test_the_floor_alone_below_the_threshold():
    """At a trace of 1 no noise reaches the floor; what remains is sqrt(eps) for 0."""
    features = with_trace(rectified_noise(64, 17), 1.0)
    published, _ = gradient_error.measure(features, "mpn_cov", {"route": "dense"}, "float64")
    assert published["noise_above_floor"] == 0
    assert published["error_median"] == pytest.approx(published["floor_term"], rel=0.3)
    assert torch.finfo(torch.float64).eps ** 0.5 < published["error_median"] < 1e-6
