"""Value and gradient of every layer against its formula, `tests/metalayers/formulas.py`, at 60 digits."""

from __future__ import annotations

from typing import Any

import mpmath as mp
import numpy as np
import pytest
import torch
from torch import Tensor

from gcp_repro.metalayers import META_LAYERS
from tests.linalg.reference import DIGITS, features_with_spectrum, to_mp
from tests.metalayers import formulas
from tests.metalayers.inputs import build

EPS = torch.finfo(torch.float64).eps

SHAPES = {
    "N > C": features_with_spectrum([4.0, 1.5, 0.6, 0.2], positions=9, seed=3),
    "N < C": features_with_spectrum([3.0, 1.2, 0.4, 0.0, 0.0], positions=4, seed=4),
}


def _duplicate_channels() -> Tensor:
    """Rank 2 of 4 exactly, with more positions than channels: a copy of a channel, and twice another."""
    x = features_with_spectrum([4.0, 1.5], positions=8, seed=3)
    return torch.cat([x, x[:, 1:], 2 * x[:, :1]], 1)


SPECTRA = {
    "ill-conditioned": features_with_spectrum([1e3, 1.0, 1e-2], positions=6, seed=1),
    "rank deficient, N > C": _duplicate_channels(),
    "repeated": features_with_spectrum([2.0, 2.0, 2.0, 0.5], positions=7, seed=4),
    "repeated and deficient": features_with_spectrum([3.0, 1.0, 1.0, 0.0, 0.0], positions=4, seed=5),
    "nearly repeated": features_with_spectrum([2.0, 2.0 + 1e-9, 2.0 - 1e-13, 0.5], positions=7, seed=6),
}
SMOOTH = (
    "svd_lyapunov",
    "isqrt_cov",
    "svd_newton",
    "deep_o2p",
    "seb",
    "mpa_lya",
    "mtp_lya",
    "pow_tmlr",
    "scale_pow_emlr",
    "log_cholesky",
    "dropcov",
    "isice",
)
"""Layers whose gradient is right, by its own formula, for such spectra too."""

FLOORED = ("mpn_cov", "svd_pade", "svd_taylor", "svd_newton", "svd_trunc", "svd_topn", "svd_power_iteration")
"""Layers that keep eigenvalues at a floor, the machine epsilon, on route `dense`."""

OPTIONS: dict[str, list[dict[str, Any]]] = {
    "isqrt_cov": [
        {"num_iterations": 1},
        {"num_iterations": 3},
        {"solver": "products"},
        {"solver": "products", "num_iterations": 1},
    ],
    "svd_lyapunov": [{"solver": "products"}],
    "svd_pade": [{"degree": 50}],
    "svd_taylor": [{"degree": 3}],
    "svd_newton": [{"num_iterations": 4}],
    "svd_trunc": [{"max_gradient": 0.7}],
    "svd_topn": [{"top_n": 2}],
    "svd_power_iteration": [{"num_iterations": 1}, {"num_iterations": 4}, {"deflate": False}],
    "deep_o2p": [{"epsilon": 0.5}],
    "improved_bcnn": [{"num_iterations": 3}],
    "mpa_lya": [{"num_iterations": 2}],
    "mtp_lya": [{"num_iterations": 2}],
    "cross_covariance": [
        {"normalization": "none"},
        {"normalization": "epn"},
        {"exponent": 0.3, "num_iterations": 3},
        {"num_values": 2, "num_iterations": 2},
    ],
    "pow_tmlr": [{"exponent": 0.3}, {"exponent": 2.0}, {"num_iterations": 5}],
    "scale_pow_emlr": [{"exponent": 0.7}, {"num_iterations": 3}],
    "log_cholesky": [{"epsilon": 0.1}],
    "svpn": [{"exponent": 0.3, "num_iterations": 3}, {"num_values": 2, "num_iterations": 2}],
    "rank1_update": [
        {"eta": 0.6, "num_iterations": 1},
        {"num_iterations": 0},
        {"moment": "covariance", "signed_root": False},
        {"signed_root": False},
    ],
    "isice": [{"sparsity": 0.3, "step_size": 0.5, "num_iterations": 3, "inverse_iterations": 4}],
    "spectral": [
        {"forward": "power", "exponent": 0.3, "scaling": "tangent"},
        {"forward": "power", "exponent": 0.3},
        {"forward": "newton_schulz", "num_iterations": 3, "gradient": "taylor", "degree": 7, "moment": "gaussian"},
        {"forward": "log", "epsilon": 0.1, "moment": "second_moment", "signed_root": True},
        {"gradient": "trunc", "max_gradient": 0.7, "top_n": 2, "signed_root": True},
    ],
}


def _cases() -> list[Any]:
    cases = []
    for name, entry in META_LAYERS.items():
        variants = [{"projection_dim": 11}] if name == "cbp" else [{}, *OPTIONS.get(name, [])]
        if "route" in entry.defaults:
            variants.append({"route": "dense"})
        if name == "isqrt_cov":
            variants += [{"route": "dense", "solver": "products", "num_iterations": n} for n in (1, 2, 5)]
        for options in variants:
            features = {**SHAPES, **SPECTRA} if name in SMOOTH and not (name in FLOORED and "route" in options) else SHAPES
            label = ", ".join([name, *(f"{key}={value}" for key, value in options.items())])
            cases += [pytest.param(name, options, x, id=f"{label}: {kind}") for kind, x in features.items()]
    return cases


def test_every_layer_has_a_formula():
    """A new layer: its value in `formulas.VALUES`, and in `formulas.SLOPES` if its gradient is not the derivative of that."""
    assert set(formulas.VALUES) == set(META_LAYERS)


@pytest.mark.parametrize(("name", "options", "features"), _cases())
def test_value_and_gradient_are_those_of_the_formula(name, options, features):
    floored = name in FLOORED and options.get("route") == "dense"
    if floored:
        features = 0.03 * features  # rounding noise of the null space is then below the floor
    features = features.clone().requires_grad_()
    layer = build(name, **options)
    output = layer(features)
    weights, direction = _random(output.shape, 7), _random(features.shape, 8)
    (gradient,) = torch.autograd.grad(output, features, weights)

    given = {key: value for key, value in options.items() if key not in ("solver", "route")}
    if floored:
        given["floor"] = EPS
    if name == "cbp":
        given["places"], given["signs"] = (part.tolist() for part in layer.hashes(features.shape[1], features.device))
    if name == "rank1_update":
        given["start"] = (
            np.random.default_rng((given.pop("seed", 0), features.shape[1])).standard_normal(features.shape[1]).tolist()
        )
    with mp.workdps(DIGITS):
        x, dx = to_mp(features[0]), to_mp(direction[0])
        expected = torch.tensor([[float(v) for v in formulas.VALUES[name](x, **given)]], dtype=torch.float64)
        change = formulas.slope(name, x, dx, **given)
        slope = float(mp.fsum(mp.mpf(w) * c for w, c in zip(weights[0].tolist(), change, strict=True)))

    accuracy = 32 * EPS * _condition(name, features.detach(), options)
    assert (output - expected).abs().max() <= accuracy * expected.abs().max()
    if floored and features.shape[2] <= features.shape[1]:
        accuracy = EPS**0.5  # rounding of the null space, EPS, times the root's slope at the floor, 1 / (2 sqrt(EPS))
    assert abs((gradient * direction).sum() - slope) <= accuracy * gradient.norm() * direction.norm()


def _random(shape: torch.Size, seed: int) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _condition(name: str, x: Tensor, options: dict[str, Any]) -> float:
    """Of the layer: the condition number of its matrix on the range, times what its function adds."""
    matrices = {"g2denet": torch.cat([x, torch.ones_like(x[:, :1])], 1), "deep_o2p": x, "improved_bcnn": x, "rank1_update": x}
    singular = torch.linalg.svdvals(matrices.get(name, x - x.mean(-1, keepdim=True)))[0]
    largest, smallest = singular[0] ** 2, singular[singular > 1e-7 * singular[0]][-1] ** 2
    if name == "deep_o2p":
        smallest = torch.tensor(options.get("epsilon", 1e-3))  # rounding errors of null eigenvalues, times the slope there
    if name == "log_cholesky":
        smallest = singular[min(x.shape[1:]) - 1] ** 2 * (x.shape[2] >= x.shape[1]) + options.get("epsilon", 1e-6)
    cancellation = 522 if name == "mpa_lya" else 1  # of the Pade denominator at a null eigenvalue: sum |q_k| / |sum q_k|
    return cancellation * (largest / smallest).item()
