"""Limits of the gradient rules and the published order; values and gradients: `tests/metalayers/test_values.py`."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gcp_repro.linalg import operator_for
from gcp_repro.metalayers import build_meta_layer
from tests.linalg.reference import features_with_spectrum
from tests.tolerances import relative_error, rounding

FULL_RANK = features_with_spectrum([5.0, 2.0, 0.9, 0.3], positions=9)
CONDITION = 40 * 5.0 / 0.3  # largest over smallest eigenvalue; 40 > 27: pade's denominator (docs/mathematics.md, section 1)


def _random(shape, seed):
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("case", ["mpn_cov", "svd_pade", "svd_trunc", "svd_newton", "svd_power_iteration"])
def test_rules_agree_with_the_exact_gradient_on_separated_spectra(case):
    """Each to the accuracy that it promises: the Newton-Schulz table needs its iterations to have converged."""
    features = FULL_RANK.clone().requires_grad_()
    options = {"svd_newton": {"num_iterations": 30}, "svd_power_iteration": {"num_iterations": 300}}.get(case, {})
    weights = _random((1, 10), 10)
    exact = torch.autograd.grad(build_meta_layer("svd_lyapunov")(features), features, weights)[0]
    ruled = torch.autograd.grad(build_meta_layer(case, **options)(features), features, weights)[0]
    assert relative_error(ruled, exact) < rounding(9, CONDITION)


def test_taylor_converges_to_the_exact_gradient_with_its_degree():
    features = FULL_RANK.clone().requires_grad_()
    weights = _random((1, 10), 11)
    exact = torch.autograd.grad(build_meta_layer("svd_lyapunov")(features), features, weights)[0]
    errors = []
    for degree in (1, 4, 16, 64):
        ruled = torch.autograd.grad(build_meta_layer("svd_taylor", degree=degree)(features), features, weights)[0]
        errors.append(((ruled - exact).norm() / exact.norm()).item())
    assert errors == sorted(errors, reverse=True)
    assert errors[0] > 1e-2
    assert errors[-1] < rounding(9, CONDITION)  # its factor is 1 - x^65, x at most 0.45


@pytest.mark.parametrize(
    ("options", "rows", "columns", "kept"),
    [
        ({}, 4, 9, [(4,), (4, 4)]),
        ({}, 9, 4, [(4,), (9, 4), (4, 4)]),
        ({}, 9, 5, [(4,), (9, 4), (4, 4)]),  # contrasts of an odd number of positions
        ({"moment": "second_moment"}, 9, 5, [(5,), (9, 5), (5, 5)]),
        ({"dtype": "mixed"}, 4, 9, [(4,), (4, 4), (4, 8)]),
        ({"accuracy": "high"}, 4, 9, [(4,), (4, 4), (4, 8)]),
        ({"route": "dense"}, 9, 4, [(4,), (9, 4)]),
    ],
)
def test_what_is_kept_for_the_backward(options, rows, columns, kept):
    """Eigenvalues and U; V where it is smaller than what it would be made of, or needed in its own right."""
    spec = build_meta_layer("spectral", **options).spec
    assert list(operator_for(spec, rows).saved_shapes(rows, columns)) == kept


@pytest.mark.parametrize("positions", [4, 5, 9])
@pytest.mark.parametrize(
    "options", [{}, {"accuracy": "high"}, {"dtype": "mixed"}, {"gradient": "svd", "route": "dense"}, {"moment": "second_moment"}]
)
def test_the_spectrum_that_functions_and_rules_see(options, positions):
    """Eigenvalues by numpy: a zero stands for the null space, or in the published order the machine epsilon for each."""
    features = _random((2, 6, positions), 12)
    centered = features if "moment" in options else features - features.mean(-1, keepdim=True)
    expected = torch.from_numpy(np.linalg.eigvalsh((centered @ centered.mT / positions).numpy()))
    found = operator_for(build_meta_layer("spectral", **options).spec, 6).spectrum(features)
    if "gradient" in options:
        expected = expected.clamp(min=np.finfo(float).eps)
    else:
        assert not found[:, 0].any()
        found = torch.cat([found.new_zeros(2, 7 - found.shape[1]), found[:, 1:]], -1)
    assert relative_error(found, expected) < rounding(9)


def test_topn_zeroes_the_smallest_and_scales_with_the_channels():
    features = torch.randn(2, 64, 100, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    layer = build_meta_layer("svd_topn")
    assert operator_for(layer.spec, 64).top_n == 50  # 200/256 of 64
    assert operator_for(layer.spec, 256).top_n == 200
    root = torch.zeros(2, 64, 64, dtype=torch.float64)
    rows, columns = torch.triu_indices(64, 64)
    root[:, rows, columns] = layer(features)
    eigenvalues = torch.linalg.eigvalsh(root + root.triu(1).mT)
    assert ((eigenvalues.abs() > rounding(64) * eigenvalues.amax()).sum(-1) == 50).all()
    assert operator_for(build_meta_layer("svd_topn", top_n=7).spec, 64).top_n == 7


def test_entries_that_overflow_become_the_largest_of_their_image_with_their_sign():
    operator = operator_for(build_meta_layer("mpn_cov", route="dense").spec, 4)
    spectrum = torch.tensor([[1.0, 1.0 + 1e-12, 4.0, 9.0]], dtype=torch.float64).expand(2, -1)
    h = torch.full((2, 4, 4), 1e300, dtype=torch.float64)
    h[:, 2, 3] = h[:, 3, 2] = torch.tensor([1e303, 2e300], dtype=torch.float64)
    rotated = operator._rotated(h, spectrum)
    largest = 2 * h[:, 2, 3] * 3 / 5  # that of the pair (4, 9); the close pair's are 1e12 times as large
    torch.testing.assert_close(rotated[:, 0, 1], largest, rtol=1e-14, atol=0)
    torch.testing.assert_close(rotated[:, 1, 0], -largest, rtol=1e-14, atol=0)


def test_float32_centering_leaves_the_spurious_eigenvalue():
    """The authors' newest code rounds the centring matrix to float32: a constant map keeps some of its mean's energy."""
    features = torch.full((1, 4, 36), 3.0, dtype=torch.float64)
    quirk = build_meta_layer("spectral", gradient="svd", route="dense", float32_centering=True)
    exact = build_meta_layer("spectral", gradient="svd", route="dense")
    floor = math.sqrt(np.finfo(float).eps)
    assert exact(features).abs().max() < 2 * floor  # the mean of equal numbers is exact
    assert quirk(features).abs().max() > 100 * floor
