"""float16 and bfloat16 features: what a narrow dtype cannot hold is infinite, for a gradient scaler to see."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.metalayers import META_LAYERS
from tests.metalayers.inputs import build, features_of, gradient_of

UNBOUNDED = ["bcnn", "cbp", "improved_bcnn"]  # gradients that grow as features shrink


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", META_LAYERS)
def test_value_and_gradient_are_those_of_float32_rounded(name, dtype):
    features = features_of(2, 5, 3, 3).to(dtype)
    wide_value, wide_gradient = gradient_of(build(name), features.float())
    value, gradient = gradient_of(build(name), features)
    assert value.dtype == gradient.dtype == dtype
    eps = torch.finfo(dtype).eps
    torch.testing.assert_close(value.float(), wide_value, rtol=eps, atol=eps * wide_value.abs().max().item())
    # the upstream gradient is rounded as well, and a gradient sums its errors over C entries a row
    assert (gradient.float() - wide_gradient).norm() < 4 * eps * wide_gradient.norm()


@pytest.mark.parametrize("name", META_LAYERS)
def test_zero_features_have_finite_gradients(name):
    output, gradient = gradient_of(build(name), torch.zeros(2, 5, 3, 3, dtype=torch.float16))
    assert output.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", [name for name in META_LAYERS if name not in ("gap", "dropcov")])
def test_gradients_too_large_for_float16_are_infinite(name):
    """The others are those of float64, rounded. Those of plain means and covariances are no larger than features and upstream."""
    narrow = (1e-2 * features_of(2, 40, 3)).half().requires_grad_()
    wide = narrow.detach().double().requires_grad_()
    layer = build(name)
    output = layer(wide)
    upstream = 6e4 * output.detach().sign()
    (gradient,) = torch.autograd.grad(layer(narrow), narrow, upstream.half())
    (expected,) = torch.autograd.grad(output, wide, upstream)
    too_large = expected.abs() > 65519.99  # what float16 rounds to infinity, 65520, but for the layer's own rounding
    assert too_large.any()
    assert torch.equal(gradient[too_large], expected[too_large].sign().half() * torch.inf)
    torch.testing.assert_close(gradient[~too_large].double(), expected[~too_large], rtol=2**-10, atol=2**-24)


@pytest.mark.parametrize("name", UNBOUNDED)
def test_gradient_scaler_finds_a_scale_that_keeps_the_direction(name):
    """Clamped, the gradient of the first scales points elsewhere and the scaler accepts it."""
    layer, weight = build(name), torch.nn.Parameter(0.05 * features_of(2, 5, 3, 3).float())
    target = torch.randn(2, layer.output_dim(5), generator=torch.Generator().manual_seed(1))

    def loss(features):
        return (layer(features).float() * target).sum()

    (expected,) = torch.autograd.grad(loss(weight), weight)
    scaler, optimizer = torch.amp.GradScaler("cpu", init_scale=2.0**20), torch.optim.SGD([weight], lr=0.0)
    skipped = 0
    for _ in range(30):
        optimizer.zero_grad()
        scaler.scale(loss(weight.half())).backward()
        before = scaler.get_scale()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() == before:
            break
        skipped += 1
    assert skipped > 0
    found = weight.grad
    assert found is not None
    assert torch.nn.functional.cosine_similarity(found.flatten(), expected.flatten(), dim=0) > 0.999
