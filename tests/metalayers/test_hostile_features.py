"""Features at which naive layers give NaN, and features that are not finite."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.errors import NonFiniteError
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from tests.metalayers.inputs import VARIANTS, build, features_of, gradient_of

HOSTILE = {
    "zero": torch.zeros(2, 5, 3, 3, dtype=torch.float64),
    "constant": torch.full((2, 5, 3, 3), 2.5, dtype=torch.float64),
    "duplicate channels": features_of(2, 1, 3, 3).expand(2, 5, 3, 3).contiguous(),
    "one position": features_of(2, 5, 1, 1),
    "times 1e6": 1e6 * features_of(2, 5, 3, 3),
    "times 1e-6": 1e-6 * features_of(2, 5, 3, 3),
    "times 1e-20": 1e-20 * features_of(2, 5, 3, 3),
    "times 1e-30": 1e-30 * features_of(2, 5, 3, 3),
    "identical samples": features_of(1, 5, 3, 3).expand(4, 5, 3, 3).contiguous(),
    "identity covariance": torch.linalg.qr(torch.cat([torch.ones(1, 1, 8, dtype=torch.float64).mT, features_of(1, 8, 5)], -1))[0][
        ..., 1:
    ].mT
    * 8**0.5,
    "one active position": torch.zeros(2, 5, 9, dtype=torch.float64).index_fill(2, torch.tensor([4]), 1.0),
}


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("case", HOSTILE)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_never_nan(name, options, case, dtype):
    if "dtype" in META_LAYERS[name].defaults:
        options = {**options, "dtype": str(dtype).removeprefix("torch.")}
    output, gradient = gradient_of(build(name, **options), HOSTILE[case].to(dtype))
    assert output.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", META_LAYERS)
@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_any_scale_that_float32_holds(name, scale):
    """But for dropcov, whose output has the square of the scale, that of the root of what float32 holds."""
    scale = scale**0.5 if name == "dropcov" else scale
    features = scale * features_of(2, 5, 3, 3, dtype=torch.float32)
    output, gradient = gradient_of(build(name), features)
    assert output.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", ["bcnn", "cbp", "rank1_update", "epn"])
def test_layers_without_a_decomposition_pass_non_finite_features_on(name):
    features = features_of(3, 5, 3, 3)
    features[0, 1, 0, 0], features[1, 2, 0, 0] = float("nan"), float("inf")
    output = build(name)(features)
    assert output[:2].isnan().all()
    assert output[2].isfinite().all()


def test_squares_that_overflow_are_propagated_too():
    features = features_of(3, 5, 3, 3, dtype=torch.float32) * torch.tensor([1.0, 1e30, 1.0])[:, None, None, None]
    options = {"dtype": "float32"}
    with pytest.raises(NonFiniteError, match="their squares overflow"):
        build_meta_layer("svd_lyapunov", **options)(features)
    output = build_meta_layer("svd_lyapunov", on_nonfinite="propagate", **options)(features)
    assert output.isnan().all(1).tolist() == [False, True, False]
    assert output[::2].isfinite().all()


@pytest.mark.parametrize("name", [n for n, e in META_LAYERS.items() if "on_nonfinite" in e.defaults])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_features_are_refused_or_stay_with_their_image(name, bad):
    features = features_of(3, 5, 3, 3)
    features[1, 2, 0, 0] = bad
    with pytest.raises(NonFiniteError, match=r"(?s)NaN or infinite entries.*on_nonfinite='propagate'"):
        build(name)(features)
    layer = build(name, on_nonfinite="propagate")
    output, gradient = gradient_of(layer, features)
    assert output[1].isnan().all()
    torch.testing.assert_close(output[[0, 2]], build(name)(features[[0, 2]]))
    assert gradient[[0, 2]].isfinite().all()
