"""The root by products alone: it says so itself where rounding noise would spoil it, and decomposes."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from gcp_repro.linalg import root_by_products
from gcp_repro.linalg.root_by_products import RootByProducts
from gcp_repro.metalayers import build_meta_layer
from tests.linalg.reference import decaying_features
from tests.tolerances import relative_error, rounding, spread


def _value_and_gradient(features, **options):
    x = features.clone().requires_grad_()
    output = build_meta_layer("svd_lyapunov", **options)(x)
    weights = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return output.detach(), torch.autograd.grad(output, x, weights)[0]


@pytest.mark.parametrize(("channels", "positions"), [(8, 20), (8, 6)])
@pytest.mark.parametrize("decades", [0, 4, 8, 11, 14])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_root_is_that_of_the_decomposition_at_any_condition_number(decades, channels, positions, dtype):
    features, name = decaying_features(decades, channels, positions).to(dtype), str(dtype).removeprefix("torch.")
    condition = min(10**decades, 1e9) if dtype == torch.float64 else 1  # beyond, it decomposes, too
    found = _value_and_gradient(features, dtype=name, solver="products")
    expected = _value_and_gradient(features, dtype=name)
    for first, second in zip(found, expected, strict=True):
        assert relative_error(first, second) < rounding(channels, condition, dtype)


def _passed(features):
    """What is kept of a forward and a backward pass: the bound of the smallest eigenvalue's root first."""
    operator = RootByProducts(features.dtype)
    output, gradient = features.new_empty(len(features), 36), torch.empty_like(features)
    saved = [features.new_empty(len(features), *shape) for shape in operator.saved_shapes(*features.shape[1:])]
    operator.forward(features, output, *saved)
    operator.backward(torch.ones_like(output), features, gradient, *saved)
    return saved


def test_the_iteration_is_used_where_it_converges_and_given_up_where_noise_would_win(monkeypatch):
    decomposed = []
    monkeypatch.setattr(RootByProducts, "_decompose", lambda operator, x, output: decomposed.append(x) or [x] * 3)
    monkeypatch.setattr(RootByProducts, "_decomposition", SimpleNamespace(backward=lambda *_: None))
    for positions in (20, 6):
        assert _passed(decaying_features(4, 8, positions))[0].item() > 0
        assert not decomposed
        for hopeless in (decaying_features(14, 8, positions), decaying_features(4, 8, positions).float()):
            assert _passed(hopeless)[0].isnan().all()
            assert len(decomposed) == 2  # forward and backward
            decomposed.clear()


@pytest.mark.parametrize(("decades", "most"), [(0, 8), (4, 11), (8, 16)])
@pytest.mark.parametrize("positions", [20, 6])
def test_steps_grow_with_the_decades_of_the_spectrum(monkeypatch, decades, most, positions):
    """A scaled step takes 2.6 times the smallest root, one that is not scaled 1.5 times."""
    scales = []
    monkeypatch.setattr(root_by_products, "_scaled_step", partial(_remember, scales, root_by_products._scaled_step))
    _passed(decaying_features(decades, 8, positions))
    assert len(scales) // 2 <= most  # of the forward; the backward takes the same
    assert [scale.item() for scale in scales[: len(scales) // 2]] == [scale.item() for scale in scales[len(scales) // 2 :]]


@pytest.mark.parametrize("lowest", [1e-6, 0.02, 0.7, 1.0])
def test_a_scaled_step_takes_the_smallest_and_the_largest_root_to_the_same_number(lowest):
    scale, after = root_by_products._best_step(torch.tensor(lowest, dtype=torch.float64))
    smallest, largest = ((scale * root * (3 - (scale * root) ** 2) / 2).item() for root in (lowest, 1.0))
    assert after.item() == pytest.approx(smallest, rel=1e-12)
    assert largest == pytest.approx(smallest, rel=1e-9)


@pytest.mark.parametrize("positions", [20, 6])
def test_images_of_a_batch_go_on_until_the_last_has_converged(positions):
    """Each by its own bound; one with a channel twice has none."""
    batch = torch.cat([decaying_features(decades, 8, positions) for decades in (0, 2, 6)])
    batch[1, 3] = batch[1, 2]
    kept = _passed(batch)[0].flatten()
    assert kept.isfinite().all()  # none was decomposed
    if positions > 8:
        assert (kept == 1).tolist() == [False, True, False]


@pytest.mark.parametrize(("channels", "positions"), [(8, 20), (48, 64), (64, 49)])
def test_an_image_that_has_converged_is_left_alone(channels, positions):
    """Its null space, too: the steps that its neighbour of condition 1e7 still takes would multiply the noise there."""
    torch.set_num_threads(1)  # both are in one chunk
    generator = torch.Generator().manual_seed(0)
    plain = torch.randn(1, channels, 1, dtype=torch.float64, generator=generator) * torch.arange(positions).cos()
    hard = decaying_features(7, channels, positions)
    hard[0, 3] = 0
    x = torch.cat([plain, hard]).requires_grad_()
    gradients = []
    for options in ({"solver": "products"}, {"accuracy": "high"}):
        output = build_meta_layer("svd_lyapunov", **options)(x)
        weights = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        gradients.append(torch.autograd.grad(output, x, weights)[0][0])
    assert relative_error(*gradients) < rounding(positions)


def _remember(scales, step, product, identity, scale):
    scales.append(scale)
    return step(product, identity, scale)


@pytest.mark.parametrize(("channels", "positions"), [(8, 20), (8, 8)])
def test_a_channel_that_is_zero_leaves_no_bound_and_the_same_root(channels, positions):
    features = decaying_features(2, channels, positions)
    features[:, 3] = 0
    found, expected = _value_and_gradient(features, solver="products"), _value_and_gradient(features)
    if channels < positions:
        assert _passed(features)[0].item() == 1
    values = torch.linalg.svdvals(features - features.mean(-1, keepdim=True)).square()
    condition = spread(torch.where(values > 1e-10 * values.max(), values, 0.0))
    for first, second in zip(found, expected, strict=True):
        assert relative_error(first, second) < rounding(channels, condition)
