"""Which operator computes what: by what the parts are, never by how they were named."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from gcp_repro.errors import OptionError
from gcp_repro.linalg import (
    GRADIENT_RULES,
    PoolingSpec,
    SpectralFunction,
    gradient_rule,
    operator_for,
    spectral_function,
)
from gcp_repro.linalg.authors import AuthorsNewtonSchulz, AuthorsPooling
from gcp_repro.linalg.newton_schulz import NewtonSchulzPooling
from gcp_repro.linalg.pooling import operators_for
from gcp_repro.linalg.products import NewtonSchulzProducts
from gcp_repro.linalg.published import PublishedPooling
from gcp_repro.linalg.spectral import MatrixFunction, SpectralPooling
from gcp_repro.linalg.spectral_function import GradientTable

ROOT, EXACT = spectral_function("sqrt"), gradient_rule("exact")
FIVE_STEPS = spectral_function("newton_schulz", num_iterations=5)


def solvers(*parts, **options):
    return list(operators_for(PoolingSpec(*parts, **options), 4))


@pytest.mark.parametrize("rule", GRADIENT_RULES)
@pytest.mark.parametrize("function", ["sqrt", "newton_schulz", "log"])
def test_what_is_exact_decomposes_alike_on_both_routes(function, rule):
    function, rule = spectral_function(function), gradient_rule(rule)
    exact = rule.is_exact_for(function)
    gram, dense = (operator_for(PoolingSpec(function, rule, route=route), 4) for route in ("gram", "dense"))
    assert type(gram) is SpectralPooling
    assert type(dense) is (SpectralPooling if exact else PublishedPooling)
    assert operator_for(PoolingSpec(function, rule), 4) == gram
    if exact:
        assert (gram.full, dense.full) == (False, True)


def test_numbers_of_numpy_make_the_same_spec():
    """A recipe holds them as Python writes its own."""
    for given, plain in ((np.int64(2), 2), (np.float64(0.5), 0.5)):
        spec = PoolingSpec(ROOT, EXACT, top_n=given)
        assert spec.text == PoolingSpec(ROOT, EXACT, top_n=plain).text
        assert MatrixFunction(ROOT, EXACT, top_n=given).text == MatrixFunction(ROOT, EXACT, top_n=plain).text


@pytest.mark.parametrize(
    ("rule", "options"),
    [
        ("exact", {}),
        ("exact", {"route": "dense"}),
        ("pade", {"route": "dense"}),
        ("pade", {"route": "dense", "float32_centering": True}),
    ],
)
def test_the_host_does_what_the_device_does(rule, options):
    operators = operators_for(PoolingSpec(ROOT, gradient_rule(rule), **options), 4)
    assert not operators["device"].on_host
    assert operators["host"] == replace(operators["device"], on_host=True)


def test_products_are_for_what_they_compute():
    same = gradient_rule("newton_schulz", num_iterations=5)
    for rule in (EXACT, same):
        operators = operators_for(PoolingSpec(FIVE_STEPS, rule), 4)
        assert operators["products"] == NewtonSchulzProducts(5)
        assert operators_for(PoolingSpec(FIVE_STEPS, rule, route="dense"), 4)["products"] == NewtonSchulzPooling(5)
    for rule in ("exact", "lyapunov"):
        assert solvers(ROOT, gradient_rule(rule)) == ["device", "host", "products"]
        assert solvers(ROOT, gradient_rule(rule), route="dense") == ["device", "host"]
    for parts in ((FIVE_STEPS, gradient_rule("newton_schulz")), (FIVE_STEPS, gradient_rule("lyapunov")), (ROOT, same)):
        assert solvers(*parts) == ["device", "host"]  # ten steps, or none, in the gradient of five
    others = ({"top_n": 2}, {"moment": "second_moment"}, {"moment": "gaussian"}, {"dtype": "mixed"}, {"accuracy": "high"})
    for options in others:
        assert solvers(ROOT, EXACT, **options) == ["device", "host"]


def test_an_own_function_of_the_name_sqrt_has_its_own_value_by_every_solver():
    """By products it would silently be the root."""

    def no_gradient(eigenvalues):
        return GradientTable(torch.zeros(*eigenvalues.shape, eigenvalues.shape[-1], dtype=eigenvalues.dtype))

    own = SpectralFunction("sqrt", lambda eigenvalues: torch.where(eigenvalues > 0, 7.0, 0.0), no_gradient)
    assert solvers(own, EXACT) == ["device", "host"]
    with pytest.raises(
        OptionError, match=r"got solver='products' for forward=sqrt, gradient=exact.*: use solver='device' or 'host'"
    ):
        PoolingSpec(own, EXACT, solver="products")


def test_names_and_objects_are_the_same_spec():
    for name in GRADIENT_RULES:
        first, second = (PoolingSpec(spectral_function("sqrt"), rule) for rule in (gradient_rule(name), GRADIENT_RULES[name]()))
        assert first == second
        assert operator_for(first, 4) is operator_for(second, 4)
    assert pickle.loads(pickle.dumps(first)) == first


def test_published_arithmetic_is_that_of_the_layers_that_were_published():
    published = {"route": "dense", "float32_centering": True}
    for rule in ("svd", "pade", "newton_schulz", "power_iteration"):
        operators = operators_for(PoolingSpec(ROOT, gradient_rule(rule), **published), 4)
        assert {type(operator) for operator in operators.values()} == {AuthorsPooling}
        assert [(solver, operator.on_host) for solver, operator in operators.items()] == [("device", False), ("host", True)]
    assert operators_for(PoolingSpec(FIVE_STEPS, EXACT, **published), 4) == {"products": AuthorsNewtonSchulz(5)}
    with pytest.raises(OptionError, match="float32_centering is the arithmetic of the public code"):
        PoolingSpec(ROOT, EXACT, **published)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "half"}, "dtype must be one of float64, float32, mixed; got 'half'"),
        ({"dtype": torch.float64}, "dtype must be one of float64, float32, mixed; got torch.float64"),
        ({"route": "gramm"}, "route must be one of auto, gram, dense; got 'gramm'"),
        ({"solver": "gpu"}, "solver must be one of auto, device, host, products; got 'gpu'"),
        ({"moment": "mean"}, "moment must be one of covariance, second_moment, gaussian; got 'mean'"),
        ({"top_n": 1.0}, "top_n must be a whole number >= 1, or a number > 0 and < 1, or null; got 1.0"),
        ({"float32_centering": 1}, "float32_centering must be true or false; got 1"),
        ({"route": "dense", "moment": "gaussian"}, "route='dense' computes covariances only; got moment='gaussian'"),
    ],
)
def test_options_out_of_range(options, words):
    with pytest.raises(OptionError, match=words):
        PoolingSpec(ROOT, EXACT, **options)


def test_a_share_is_of_the_channels():
    spec = PoolingSpec(ROOT, EXACT, top_n=0.25)
    assert [operator_for(spec, channels).top_n for channels in (256, 8, 2)] == [64, 2, 1]
    assert operator_for(PoolingSpec(ROOT, EXACT, top_n=3), 256).top_n == 3


def test_the_choice_of_solver_follows_from_layer_and_device_alone():
    pade = gradient_rule("pade")
    auto = (
        PoolingSpec(FIVE_STEPS, EXACT), PoolingSpec(ROOT, EXACT), PoolingSpec(ROOT, pade, route="dense"),
        PoolingSpec(ROOT, pade, accuracy="high"),
    )  # fmt: skip
    for device, solvers_chosen in (
        ("cpu", ("device",) * 4),
        ("meta", ("device",) * 4),
        ("cuda", ("products", "device", "device", "host")),
    ):
        for spec, solver in zip(auto, solvers_chosen, strict=True):
            assert operator_for(spec, 4, device) == operators_for(spec, 4)[solver]
    asked = PoolingSpec(FIVE_STEPS, EXACT, solver="host")
    assert operator_for(asked, 4, "cuda") == operators_for(asked, 4)["host"]


def test_a_share_is_one_of_the_channels_without_the_constant():
    spec = PoolingSpec(ROOT, EXACT, moment="gaussian", top_n=0.5)
    assert spec.operator_for(torch.zeros(2, 9, 30)).top_n == operator_for(spec, 8).top_n == 4
    assert PoolingSpec(ROOT, EXACT, top_n=0.5).operator_for(torch.zeros(2, 10, 30)).top_n == 5
    assert PoolingSpec(ROOT, EXACT, top_n=3).operator_for(torch.zeros(2, 10, 30)).top_n == 3
