"""`dtype="mixed"` and `accuracy="high"`: values and gradients against 120 digits at large condition numbers, on all layers."""

from __future__ import annotations

import functools

import mpmath as mp
import numpy as np
import pytest
import torch

from gcp_repro.bench.memory import kept_bytes
from gcp_repro.errors import NonFiniteError, OptionError
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from tests.linalg import reference
from tests.metalayers.inputs import VARIANTS, build, features_of, gradient_of
from tests.metalayers.test_hostile_features import HOSTILE

F32, F64 = torch.finfo(torch.float32).eps, torch.finfo(torch.float64).eps
CHOOSES = [name for name, entry in META_LAYERS.items() if "accuracy" in entry.defaults]
PUBLISHED = ["mpa_lya", "mtp_lya"]  # of the layers that decompose, those that exist in the published order of operations alone
PRODUCTS = [("isqrt_cov", "gram"), ("isqrt_cov", "dense"), ("svd_lyapunov", "gram")]
TWICE = ("svd_lyapunov", "spectral", "bcnn", "g2denet", "cbp", "cross_covariance", "log_cholesky", "epn", "rank1_update", "isice")
DECOMPOSING = [name for name in CHOOSES if name not in PUBLISHED]


def _random(*shape, seed):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _scaled_rows(order):
    """Eight rows scaled by 1 to 1e-7, 30 positions: the condition number is 1e14, and every row is known to all its digits."""
    scales = torch.logspace(0, -7, 8, dtype=torch.float64)[order]
    return scales.unsqueeze(-1) * (_random(8, 30, seed=3) + 5.0)


def _with_spectrum(condition, channels, positions):
    rank = min(channels, positions - 1)
    spectrum = torch.logspace(0, -np.log10(condition), rank, dtype=torch.float64).tolist() + [0.0] * (channels - rank)
    return reference.features_with_spectrum(spectrum, positions, seed=4)[0]


FEATURES = {
    "rows, largest first": lambda: _scaled_rows(torch.arange(8)),
    "rows, smallest first": lambda: _scaled_rows(torch.arange(8).flip(0)),
    "rows, mixed": lambda: _scaled_rows(torch.tensor([4, 1, 7, 0, 5, 2, 6, 3])),
    "rows, on a large mean": lambda: _scaled_rows(torch.arange(8)).float().double() + 2.0**20,
    **{
        f"{condition:.0e}, {channels} x {positions}": functools.partial(_with_spectrum, condition, channels, positions)
        for condition in (1e2, 1e6, 1e10, 1e14)
        for channels, positions in ((6, 20), (9, 6), (9, 7))
    },
}


def _root(x):
    return reference.upper(reference.root(reference.moment(x)))


def _gradient(x, weights):
    """Of the product of `_root(x)` with weights: `2 Y X / N`, where `Y` solves the Lyapunov equation `Q Y + Y Q = G`."""
    eigenvalues, u = reference.spectrum(reference.moment(x))
    s = [mp.sqrt(v) for v in eigenvalues]
    g, position = mp.matrix(x.rows, x.rows), 0
    for i in range(x.rows):
        for j in range(i, x.rows):
            g[i, j] = g[j, i] = weights[position] / (1 if i == j else 2)
            position += 1
    h = u.T * g * u
    y = mp.matrix([[h[i, j] / (a + b) if a + b > 0 else mp.mpf(0) for j, b in enumerate(s)] for i, a in enumerate(s)])
    means = [mp.fsum(x[i, j] for j in range(x.cols)) / x.cols for i in range(x.rows)]
    centered = mp.matrix([[x[i, j] - means[i] for j in range(x.cols)] for i in range(x.rows)])
    return 2 * (u * y * u.T) * centered / x.cols


@functools.cache
def _reference(case):
    """Features, weights, and value and gradient to 120 digits, rounded at the end."""
    features = FEATURES[case]()
    weights = _random(len(features) * (len(features) + 1) // 2, seed=5)
    with mp.workdps(120):
        x = reference.to_mp(features)
        gradient = _gradient(x, [mp.mpf(w) for w in weights.tolist()])
        return features, weights, np.array(_root(x), dtype=float), np.array(gradient.tolist(), dtype=float)


def _errors(case, **options):
    """Relative errors of value and gradient of `svd_lyapunov`, in the norm."""
    features, weights, value, gradient = _reference(case)
    x = features[None].clone().requires_grad_()
    output = build_meta_layer("svd_lyapunov", **options)(x)
    (computed,) = torch.autograd.grad(output, x, weights[None])
    pairs = (output[0].detach().numpy(), value), (computed[0].numpy(), gradient)
    return [np.linalg.norm(found - exact) / np.linalg.norm(exact) for found, exact in pairs]


def _condition(case):
    return 1e14 if case.startswith("rows") else float(case.split(",")[0])


@pytest.mark.parametrize("case", ["rows, mixed", "1e+14, 9 x 7"])
def test_the_reference_is_the_slope_of_the_root(case):
    features, weights, _, gradient = _reference(case)
    direction = _random(*features.shape, seed=8)
    with mp.workdps(120):
        slopes = reference.central_difference(_root, reference.to_mp(features), reference.to_mp(direction))
        along = float(mp.fdot(slopes, weights.tolist()))
    assert abs((gradient * direction.numpy()).sum() - along) < 1e-13 * np.linalg.norm(gradient) * direction.norm().item()


@pytest.mark.parametrize("case", FEATURES)
def test_high_accuracy_is_lost_with_the_root_of_the_condition_number_alone(case):
    of_value, of_gradient = _errors(case, accuracy="high")
    assert of_value < 100 * F64
    # rows of different scale cost nothing; elsewhere singular values are right to eps of the largest
    assert of_gradient < (100 * F64 if case.startswith("rows") else 10 * F64 * _condition(case) ** 0.5)
    assert of_gradient < 1e-8


@pytest.mark.parametrize("case", FEATURES)
@pytest.mark.parametrize("accuracy", ["standard", "high"])
def test_mixed_precision_has_float32_accuracy_at_every_condition_number_of_its_decomposition(case, accuracy):
    if accuracy == "standard" and _condition(case) > 1e10:
        pytest.skip("eps times the condition number is no longer small against float32")
    of_value, of_gradient = _errors(case, dtype="mixed", accuracy=accuracy)
    assert of_value < 4 * F32
    assert of_gradient < 4 * F32


@pytest.mark.parametrize("case", [case for case in FEATURES if _condition(case) <= 1e6])
def test_direct_decomposition_in_float32_reaches_further_than_the_gram_matrix(case):
    """The Gram matrix in float32 has no digits left at a condition number of 1 / eps = 8e6."""
    of_gradient = _errors(case, dtype="float32", accuracy="high")[1]
    assert of_gradient < 10 * F32 * _condition(case) ** 0.5


@pytest.mark.parametrize("shape", [(3, 9, 3, 2), (3, 4, 3, 4)], ids=str)
@pytest.mark.parametrize("name", DECOMPOSING)
def test_all_layers_agree_in_every_precision_on_ordinary_features(name, shape):
    features = features_of(*shape)
    value, gradient = gradient_of(build(name), features)
    for options, tolerance in (
        ({"accuracy": "high"}, 1e-9),
        ({"dtype": "mixed"}, 4e-6),
        ({"dtype": "mixed", "accuracy": "high"}, 4e-6),
    ):
        other_value, other_gradient = gradient_of(build(name, **options), features)
        assert (other_value - value).norm() < tolerance * value.norm(), options
        assert (other_gradient - gradient).norm() < tolerance * gradient.norm(), options


@pytest.mark.parametrize("options", [{"accuracy": "high"}, {"dtype": "mixed"}], ids=str)
def test_second_derivatives_in_the_precision_of_the_decomposition(options):
    x, direction = features_of(1, 4, 7).requires_grad_(), _random(1, 4, 7, seed=6)
    second = []
    for layer in (build_meta_layer("svd_lyapunov"), build_meta_layer("svd_lyapunov", **options)):
        output = layer(x)
        (gradient,) = torch.autograd.grad(output, x, _random(*output.shape, seed=7), create_graph=True)
        second.append(torch.autograd.grad(gradient, x, direction)[0])
    torch.testing.assert_close(second[1], second[0], rtol=1e-9, atol=1e-9)


def _second(layer, x, direction):
    x = x.clone().requires_grad_()
    output = layer(x)
    (gradient,) = torch.autograd.grad(output, x, torch.ones_like(output), create_graph=True)
    return torch.autograd.grad(gradient, x, direction)[0]


NARROW = {
    "value": lambda layer, x, direction: layer(x),
    "gradient": lambda layer, x, direction: gradient_of(layer, x)[1],
    "tangent": lambda layer, x, direction: torch.func.jvp(layer, (x,), (direction,))[1],
    "second derivative": _second,
}


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch's own forward mode
@pytest.mark.parametrize(
    ("name", "options"),
    [*VARIANTS, *((name, {"solver": "products", "route": route}) for name, route in PRODUCTS)],
)
def test_float32_features_are_computed_in_float64(name, options):
    """On a mean of 1e3 the difference from it has lost 1e3 units in the last place of float32: only results are rounded to it."""
    x, direction = (1e3 + _random(2, 4, 9, seed=1)).float(), _random(2, 4, 9, seed=2).float()
    layer = build(name, **options)
    for what, function in NARROW.items():
        if what == "second derivative" and name not in TWICE:
            continue
        narrow, wide = function(layer, x, direction), function(layer, x.double(), direction.double())
        assert narrow.dtype == torch.float32, what
        assert (narrow - wide).norm() <= 4 * F32 * wide.norm(), what


def test_combinations_that_make_no_sense_are_refused_in_words():
    for options in ({"dtype": "mixed"}, {"accuracy": "high"}):
        word = "dtype='mixed'" if "dtype" in options else "accuracy='high'"
        for layer, further in (("svd_pade", {"route": "dense"}), ("isqrt_cov", {"solver": "products"}), ("mpa_lya", {})):
            with pytest.raises(OptionError, match=rf"{word}.*needs.*"):
                build_meta_layer(layer, **options, **further)
    with pytest.raises(OptionError, match="accuracy must be one of standard, high; got 'highest'"):
        build_meta_layer("svd_pade", accuracy="highest")


@pytest.mark.parametrize("name", [*CHOOSES, "bcnn", "cbp"])
def test_what_is_kept_for_the_backward_is_the_thin_decomposition(name):
    channels, positions = 24, 16
    features = features_of(3, channels, positions, dtype=torch.float32).requires_grad_()
    numbers = {"bcnn": 3, "cbp": channels**2}.get(name, 2 * channels**2)  # cbp: places of all pairs, shared by the batch
    if name == "g2denet":
        numbers += channels * positions  # the features with a constant
    assert kept_bytes(build(name), features) <= 8 * numbers


def test_mixed_precision_keeps_half():
    features = features_of(3, 24, 16, dtype=torch.float32).requires_grad_()
    full, mixed = (kept_bytes(build_meta_layer("svd_lyapunov", dtype=dtype), features) for dtype in ("float64", "mixed"))
    assert mixed < 0.55 * full  # all but the eigenvalues


@pytest.mark.parametrize("name", DECOMPOSING)
@pytest.mark.parametrize("options", [{"dtype": "mixed"}, {"accuracy": "high"}, {"dtype": "float32", "accuracy": "high"}], ids=str)
def test_hostile_features_have_finite_gradients(name, options):
    layer = build(name, **options)
    for case, features in HOSTILE.items():
        for dtype in (torch.float64, torch.float32):
            output, gradient = gradient_of(layer, features.to(dtype))
            assert output.isfinite().all(), case
            assert gradient.isfinite().all(), case


@pytest.mark.parametrize("options", [{"dtype": "mixed"}, {"accuracy": "high"}], ids=str)
def test_features_that_are_not_finite_or_whose_squares_overflow_are_refused(options):
    features = features_of(2, 5, 3, 3)
    layer = build_meta_layer("svd_lyapunov", **options)
    for bad in (float("nan"), float("inf"), 1e200):
        features[1, 2, 0, 0] = bad
        with pytest.raises(NonFiniteError, match="NaN or infinite entries"):
            layer(features)
