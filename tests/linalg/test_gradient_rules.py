"""Tables of the rules at the edges of what they are for; values on ordinary spectra: `tests/metalayers/test_values.py`."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gcp_repro.errors import OptionError
from gcp_repro.linalg import GRADIENT_RULES, GradientRule, SpectralFunction, gradient_rule, matrix_sqrt, spectral_function
from gcp_repro.linalg.gradient_rules import replace_overflow, skew_quotients
from gcp_repro.linalg.spectral_function import GradientTable
from gcp_repro.metalayers import build_meta_layer

EPS = np.finfo(float).eps


def spectrum(*eigenvalues):
    return torch.tensor([eigenvalues], dtype=torch.float64)


def table(rule, eigenvalues, function="sqrt"):
    function = spectral_function(function)
    return rule.table(eigenvalues, function.value(eigenvalues), function).table[0]


def test_overflow_becomes_the_largest_finite_entry_of_the_row():
    values = torch.tensor([[1.0, torch.inf, 3.0], [torch.nan, -2.0, -torch.inf], [torch.inf, torch.nan, torch.inf]])
    assert replace_overflow(values).tolist() == [[1, 3, 3], [0, -2, 0], [0, 0, 0]]
    assert replace_overflow(values[:, 2:1]).shape == (3, 0)


def test_published_floor_and_largest_finite_entry():
    """Two null eigenvalues: at the floor their K is 1/0, and becomes the largest finite entry of the matrix."""
    k = skew_quotients(spectrum(EPS, EPS, 1.0), gradient_rule("svd").quotient)[0]
    largest = 1 / (1 - EPS)
    expected = [[0, -largest, -largest], [largest, 0, -largest], [largest, largest, 0]]
    np.testing.assert_allclose(k.numpy(), expected, rtol=1e-15)


@pytest.mark.parametrize("name", GRADIENT_RULES)
def test_tables_are_symmetric_and_finite_with_a_null_space(name):
    """The smallest number whose reciprocal is one too, is one that rules meet: spectra hold nothing smaller."""
    tiny = torch.finfo(torch.float64).tiny
    for eigenvalues in (spectrum(0.0, 0.0, 0.5, 0.5, 2.0), spectrum(0.0, tiny, 1.0), spectrum(0.0, 0.0)):
        found = table(gradient_rule(name), eigenvalues)
        torch.testing.assert_close(found, found.T, rtol=16 * EPS, atol=0)
        assert found.isfinite().all()
        assert (found[eigenvalues[0] == 0][:, eigenvalues[0] == 0] == 0).all() or name in ("newton_schulz", "lyapunov_iteration")


def test_power_iteration_with_a_single_eigenvalue_left():
    found = table(gradient_rule("power_iteration", num_iterations=3), spectrum(0.0, 4.0))
    assert found.tolist() == [[0.0, 0.5], [0.5, 0.25]]


def test_lyapunov_iteration_of_zero_is_zero():
    assert table(gradient_rule("lyapunov_iteration"), spectrum(0.0, 0.0)).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def _pairs(eigenvalues):
    return GradientTable(torch.ones(*eigenvalues.shape, eigenvalues.shape[-1], dtype=eigenvalues.dtype))


@pytest.mark.parametrize(
    ("value", "gradient", "words"),
    [
        (
            lambda values: None,
            _pairs,
            r"the value of function mine must be a tensor of their shape, \(1, 3\); got NoneType: see docs",
        ),
        (lambda values: values.sum(-1), _pairs, r"the value of function mine .* got Tensor of \(1,\)"),
        (
            lambda values: values,
            lambda values: values,
            r"the gradient of function mine must be a GradientTable of all pairs, .* got Tensor of \(1, 3\)",
        ),
        (
            lambda values: values,
            lambda values: GradientTable(values),
            r"the gradient of function mine .* got GradientTable of \(1, 3\)",
        ),
    ],
)
def test_functions_of_ones_own_are_tried_where_they_are_given(value, gradient, words):
    for rule in ("exact", "taylor"):
        with pytest.raises(OptionError, match=words):
            build_meta_layer("spectral", forward=SpectralFunction("mine", value, gradient), gradient=rule)


def test_rules_of_ones_own_are_tried_too():
    rule = GradientRule("mine", lambda eigenvalues, images, function: function.gradient(eigenvalues).table)
    with pytest.raises(
        OptionError, match=r"the table of rule mine must be a GradientTable of all pairs, .* got Tensor of \(1, 3, 3\)"
    ):
        matrix_sqrt(torch.eye(3), rule)
