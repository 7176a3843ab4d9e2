"""The root by products alone: it says so itself where rounding noise would spoil it, and decomposes."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.linalg.products import ProductsPooling, _NotConvergedError
from gcp_repro.metalayers import build_meta_layer
from tests.linalg.reference import features_with_spectrum
from tests.tolerances import relative_error, rounding


def _features(decades: float, channels: int, positions: int) -> torch.Tensor:
    rank = min(channels, positions - 1)
    spectrum = [10 ** (-decades * i / (rank - 1)) for i in range(rank)] + [0.0] * (channels - rank)
    return features_with_spectrum(spectrum, positions, seed=3)


def _value_and_gradient(features, **options):
    x = features.clone().requires_grad_()
    output = build_meta_layer("svd_lyapunov", **options)(x)
    weights = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return output.detach(), torch.autograd.grad(output, x, weights)[0]


@pytest.mark.parametrize(("channels", "positions"), [(8, 20), (8, 6)])
@pytest.mark.parametrize("decades", [0, 4, 8, 11, 14])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_root_is_that_of_the_decomposition_at_any_condition_number(decades, channels, positions, dtype):
    features, name = _features(decades, channels, positions).to(dtype), str(dtype).removeprefix("torch.")
    condition = min(10**decades, 1e9) if dtype == torch.float64 else 1  # beyond, it decomposes, too
    found = _value_and_gradient(features, dtype=name, solver="products")
    expected = _value_and_gradient(features, dtype=name)
    for first, second in zip(found, expected, strict=True):
        assert relative_error(first, second) < rounding(channels, condition, dtype)


def test_the_iteration_is_used_where_it_converges_and_given_up_where_noise_would_win():
    pooling = ProductsPooling()
    pooling.pool(_features(4, 8, 20))
    for hopeless in (_features(14, 8, 20), _features(4, 8, 20).float()):
        with pytest.raises(_NotConvergedError):
            ProductsPooling(None, hopeless.dtype).pool(hopeless)


@pytest.mark.parametrize("name", ["svd_lyapunov", "isqrt_cov"])
@pytest.mark.parametrize("shape", [(2, 4, 6), (2, 6, 4)])
def test_constant_features_have_finite_derivatives_of_both_orders(name, shape):
    x = torch.full(shape, 1.5, dtype=torch.float64, requires_grad=True)
    output = build_meta_layer(name, solver="products")(x)
    (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad((gradient * torch.randn(shape, dtype=torch.float64)).sum(), x)
    assert output.isfinite().all()
    assert gradient.isfinite().all()
    assert second.isfinite().all()
