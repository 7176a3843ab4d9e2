"""Layers in torch's own operators give the layers' values, in float64 to rounding; `tests/export` has them as files."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.errors import OptionError
from tests.metalayers.inputs import build, features_of
from tests.tolerances import relative_error, rounding

WRITABLE = [
    ("isqrt_cov", {}), ("isqrt_cov", {"num_iterations": 1}), ("isqrt_cov", {"route": "dense", "dtype": "float32"}),
    ("mtp_lya", {}), ("improved_bcnn", {"num_iterations": 3}), ("svpn", {}), ("isice", {}),
    ("rank1_update", {"signed_root": False}), ("dropcov", {}),
    ("isqrt_cov", {"heads": 2}), ("svpn", {"heads": 2, "correlation": True}), ("isqrt_cov", {"shrinkage": 0.3}),
    ("spectral", {"forward": "newton_schulz", "num_iterations": 3, "gradient": "svd", "moment": "gaussian"}),
    ("spectral", {"forward": "newton_schulz", "num_iterations": 3, "gradient": "svd", "moment": "second_moment"}),
    ("scale_pow_emlr", {"num_iterations": 3}),
]  # fmt: skip


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(("name", "options"), WRITABLE)
def test_values_are_those_of_the_layer(name, options, layout):
    layer = build(name, **options, layout=layout)
    features = features_of(3, 6, 2, 5) + 0.5
    features[0] = 0
    features = features if layout == "nchw" else features.permute(0, 2, 3, 1)
    dtype = torch.float32 if options.get("dtype") == "float32" else torch.float64
    plain, expected = layer.in_plain_torch(features), layer(features)
    found = plain(features)
    assert found.dtype == torch.float64
    assert relative_error(found[1:], expected[1:]) < rounding(10, 10, dtype)
    at_zero = 2 * torch.finfo(dtype).eps ** 0.5 if name == "mtp_lya" else 0.0  # the layer's eigenvalues are at least eps
    assert (found[0] - expected[0]).abs().max() <= at_zero
    narrow = features.float() if dtype == torch.float32 else features.float() + 30  # what is lost beside the mean in float32
    assert plain(narrow).dtype == torch.float32
    assert relative_error(plain(narrow)[1:], layer(narrow)[1:]) < rounding(dtype=torch.float32)


def test_what_needs_a_decomposition_says_so():
    features = features_of(2, 4, 9)
    for name, options in (
        ("svd_lyapunov", {}),
        ("spectral", {"forward": "newton_schulz", "num_iterations": 3, "gradient": "svd", "top_n": 2}),
        ("log_cholesky", {}),
    ):
        with pytest.raises(
            OptionError, match=rf"needs layers made of matrix products; got {name}, .* put isqrt_cov in its place"
        ):
            build(name, **options).in_plain_torch(features)
