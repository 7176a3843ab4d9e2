"""Pooling by products of matrices alone, both kinds: what is refused, and derivatives in any dtype."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.errors import NonFiniteError
from gcp_repro.metalayers import build_meta_layer
from tests.linalg.reference import decaying_features
from tests.tolerances import relative_error


@pytest.mark.parametrize(("name", "route"), [("svd_lyapunov", "gram"), ("isqrt_cov", "gram"), ("isqrt_cov", "dense")])
@pytest.mark.parametrize("value", [torch.nan, torch.inf, 1e200])
def test_features_that_are_not_finite_or_whose_squares_are_not_are_refused(name, route, value):
    features = decaying_features(1, 8, 6)
    features[0, 2, 3] = value
    with pytest.raises(NonFiniteError, match="got NaN or infinite entries"):
        build_meta_layer(name, route=route, solver="products")(features)


@pytest.mark.parametrize("name", ["svd_lyapunov", "isqrt_cov"])
@pytest.mark.parametrize("positions", [20, 6])
def test_second_derivatives_of_narrow_features_are_computed_in_float64(name, positions):
    features = decaying_features(3, 8, positions).float()
    layer = build_meta_layer(name, solver="products")

    def second(x):
        x = x.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(layer(x), x, torch.arange(36.0).to(x).unsqueeze(0), create_graph=True)
        return torch.autograd.grad(gradient, x, features.flip(-1).to(x))[0]

    # rounded to float32 once
    assert relative_error(second(features), second(features.double())) <= 2 * torch.finfo(torch.float32).eps


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
