"""Values and gradients of the covariance pooling operators against 60-digit references."""

from __future__ import annotations

import math

import mpmath as mp
import numpy as np
import pytest
import torch

from gcp_repro.linalg import operator_for
from gcp_repro.linalg.pade import pade_coefficients
from gcp_repro.metalayers import build_meta_layer
from tests.linalg import reference
from tests.linalg.reference import features_with_spectrum


def _duplicate_channels():
    """Rank 2 of 4 exactly, with more positions than channels: a copy of a channel, and twice another."""
    x = features_with_spectrum([4.0, 1.5], positions=8, seed=3)
    return torch.cat([x, x[:, 1:], 2 * x[:, :1]], 1)


SPECTRA = {
    "full rank": features_with_spectrum([5.0, 2.0, 0.9, 0.3], positions=9),
    "full rank, N > C": features_with_spectrum([1e3, 1.0, 1e-2], positions=6, seed=1),
    "rank deficient": features_with_spectrum([4.0, 1.5, 0.2, 0.0, 0.0, 0.0], positions=4, seed=2),
    "rank deficient, N > C": _duplicate_channels(),
    "repeated": features_with_spectrum([2.0, 2.0, 2.0, 0.5], positions=7, seed=4),
    "repeated and deficient": features_with_spectrum([3.0, 1.0, 1.0, 0.0, 0.0], positions=4, seed=5),
    "nearly repeated": features_with_spectrum([2.0, 2.0 + 1e-9, 2.0 - 1e-13, 0.5], positions=7, seed=6),
}

# What each exact layer computes, from its definition: (layer, options, matrix function, centered)
FUNCTIONS = {
    "svd_lyapunov": ({}, reference.root, True),
    "isqrt_cov": ({}, lambda p: reference.newton_schulz(p, 5), True),
    "isqrt_cov, products": ({"solver": "products"}, lambda p: reference.newton_schulz(p, 5), True),
    "isqrt_cov, products, 1 step": (
        {"solver": "products", "num_iterations": 1},
        lambda p: reference.newton_schulz(p, 1),
        True,
    ),
    "svd_lyapunov, products": ({"solver": "products"}, reference.root, True),
    "isqrt_cov, 1 step": ({"num_iterations": 1}, lambda p: reference.newton_schulz(p, 1), True),
    "isqrt_cov, 2 steps": ({"num_iterations": 2}, lambda p: reference.newton_schulz(p, 2), True),
    "deep_o2p": ({}, lambda p: reference.on_eigenvalues(p, lambda ls: [mp.log(v + mp.mpf(1e-3)) for v in ls]), False),
    "seb": (
        {},
        lambda p: reference.on_eigenvalues(
            p, lambda ls: [mp.sqrt(v) * (1 + mp.sqrt(mp.fsum(w * mp.exp(-2 * w) for w in ls))) for v in ls]
        ),
        True,
    ),
}


def _layer(case: str, **options):
    own, function, centered = FUNCTIONS[case]
    return build_meta_layer(case.split(",")[0], **own, **options), function, centered


def _random(shape, seed):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("route", ["gram", "dense"])
@pytest.mark.parametrize("spectrum", SPECTRA)
@pytest.mark.parametrize("case", FUNCTIONS)
def test_value_and_gradient_agree_with_the_definition(case, spectrum, route):
    if route == "dense" and case in ("deep_o2p", "svd_lyapunov, products"):
        pytest.skip("has no such route")
    features = SPECTRA[spectrum].clone().requires_grad_()
    layer, function, centered = _layer(case, **({"route": route} if case != "deep_o2p" else {}))
    output = layer(features)
    expected = reference.pooled(features, function, centered)
    np.testing.assert_allclose(output.detach().numpy(), expected, rtol=0, atol=1e-10 * np.abs(expected).max())

    weights, direction = _random(output.shape, 7), _random(features.shape, 8)
    (gradient,) = torch.autograd.grad(output, features, weights)
    derivative = reference.directional_derivative(features, direction, weights, function, centered)
    scale = gradient.norm().item() * direction.norm().item()
    assert abs((gradient * direction).sum().item() - derivative) < 1e-9 * scale


@pytest.mark.parametrize("case", ["mpn_cov", "svd_taylor", "svd_pade", "svd_trunc"])
@pytest.mark.parametrize("route", ["gram", "dense"])
def test_each_rule_replaces_the_quotient_and_nothing_else(case, route):
    """Against eq. 5 with 60-digit eigenvectors; on the dense route only where the machine-epsilon floor does not act."""
    features = SPECTRA["full rank" if route == "dense" else "rank deficient"].clone().requires_grad_()
    numerator, denominator = ([mp.mpf(c) for c in reversed(cs)] for cs in pade_coefficients(100))
    quotients = {
        "mpn_cov": ({}, lambda a, b: 1 / (a - b)),
        "svd_taylor": ({"degree": 3}, lambda a, b: sum((b / a) ** i for i in range(4)) / a),
        "svd_pade": ({}, lambda a, b: mp.polyval(numerator, b / a) / mp.polyval(denominator, b / a) / a),
        "svd_trunc": ({"max_gradient": 0.5}, lambda a, b: min(1 / (a - b), mp.mpf(0.5))),
    }
    options, k = quotients[case]
    layer = build_meta_layer(case, route=route, **options)
    output = layer(features)
    weights = _random(output.shape, 9)
    (gradient,) = torch.autograd.grad(output, features, weights)
    expected = reference.quotient_gradient(features, weights, k)
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=0, atol=1e-10 * np.abs(expected).max())


@pytest.mark.parametrize("case", ["mpn_cov", "svd_pade", "svd_trunc", "svd_newton", "svd_power_iteration"])
def test_rules_agree_with_the_exact_gradient_on_separated_spectra(case):
    """Each to the accuracy that it promises: the Newton-Schulz table needs its iterations to have converged."""
    features = SPECTRA["full rank"].clone().requires_grad_()
    options = {"svd_newton": {"num_iterations": 30}, "svd_power_iteration": {"num_iterations": 300}}.get(case, {})
    weights = _random((1, 10), 10)
    exact = torch.autograd.grad(build_meta_layer("svd_lyapunov")(features), features, weights)[0]
    ruled = torch.autograd.grad(build_meta_layer(case, **options)(features), features, weights)[0]
    assert (ruled - exact).norm() < 1e-9 * exact.norm()


def test_taylor_converges_to_the_exact_gradient_with_its_degree():
    features = SPECTRA["full rank"].clone().requires_grad_()
    weights = _random((1, 10), 11)
    exact = torch.autograd.grad(build_meta_layer("svd_lyapunov")(features), features, weights)[0]
    errors = []
    for degree in (1, 4, 16, 64):
        ruled = torch.autograd.grad(build_meta_layer("svd_taylor", degree=degree)(features), features, weights)[0]
        errors.append(((ruled - exact).norm() / exact.norm()).item())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-2
    assert errors[-1] < 1e-9


def test_topn_zeroes_the_smallest_and_scales_with_the_channels():
    features = torch.randn(2, 64, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    layer = build_meta_layer("svd_topn")
    assert operator_for(layer.spec, 64).top_n == 50  # 200/256 of 64
    assert operator_for(layer.spec, 256).top_n == 200
    root = torch.zeros(2, 64, 64, dtype=torch.float64)
    rows, columns = torch.triu_indices(64, 64)
    root[:, rows, columns] = layer(features)
    eigenvalues = torch.linalg.eigvalsh(root + root.triu(1).mT)
    assert ((eigenvalues.abs() > 1e-10).sum(-1) == 50).all()
    assert operator_for(build_meta_layer("svd_topn", top_n=7).spec, 64).top_n == 7


def test_published_floor_and_largest_finite_entry():
    """Two null eigenvalues: at the floor their K is 1/0, and becomes the largest finite entry of the matrix."""
    from gcp_repro.linalg.gradient_rules import gradient_rule, skew_quotients

    eps = np.finfo(float).eps
    k = skew_quotients(torch.tensor([[eps, eps, 1.0]], dtype=torch.float64), gradient_rule("svd").quotient)[0]
    largest = 1 / (1 - eps)
    expected = [[0, -largest, -largest], [largest, 0, -largest], [largest, largest, 0]]
    np.testing.assert_allclose(k.numpy(), expected, rtol=1e-15)


def test_float32_centering_leaves_the_spurious_eigenvalue():
    """The authors' newest code rounds the centring matrix to float32: a constant map keeps some of its mean's energy."""
    features = torch.full((1, 4, 36), 3.0, dtype=torch.float64)
    quirk = build_meta_layer("spectral", gradient="svd", route="dense", float32_centering=True)
    exact = build_meta_layer("spectral", gradient="svd", route="dense")
    floor = math.sqrt(np.finfo(float).eps)
    assert exact(features).abs().max() < 2 * floor
    assert quirk(features).abs().max() > 100 * floor
