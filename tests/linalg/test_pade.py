"""The shipped Pade coefficients are what the published construction gives."""

from __future__ import annotations

import operator
from functools import reduce

import mpmath
import pytest
import torch

from gcp_repro.linalg.pade import pade_approximant, pade_coefficients
from tests.tolerances import rounding


@pytest.mark.parametrize("degree", [50, 100])
def test_coefficients_are_remade_by_the_published_construction(degree):
    with mpmath.workdps(20):
        taylor = mpmath.taylor(lambda x: 1 / (1 - x), 0, degree)
        numerator, denominator = mpmath.pade(taylor, degree // 2, degree // 2)
    made = tuple(map(float, numerator)), tuple(map(float, denominator))
    assert pade_coefficients(degree) == made


@pytest.mark.parametrize("degree", [50, 100, 200, 300])
def test_approximant_is_close_to_the_function(degree):
    for x in torch.tensor([0.1, 0.3, 0.5, 0.7, 0.9], dtype=torch.float64):
        terms = [torch.tensor(row, dtype=x.dtype) * x ** torch.arange(degree // 2 + 1) for row in pade_coefficients(degree)]
        condition = sum(row.abs().sum() / row.sum().abs() for row in terms)  # of the two sums
        assert abs(pade_approximant(x, degree) * (1 - x) - 1) < rounding(condition=condition)


def test_at_one_the_published_sum_decides():
    """Term by term in float64 the denominator of degree 100 adds up to 0; equal eigenvalues count as an overflow."""
    numerator, denominator = (reduce(operator.add, coefficients) for coefficients in pade_coefficients(100))
    assert denominator == 0
    x = torch.tensor([1.0, 0.5], dtype=torch.float64)
    assert pade_approximant(x).tolist() == [float("inf") * numerator, pytest.approx(2.0)]
    for degree in (50, 200, 300):
        numerator, denominator = (reduce(operator.add, coefficients) for coefficients in pade_coefficients(degree))
        assert pade_approximant(x, degree)[0].item() == numerator / denominator


@pytest.mark.parametrize("degree", [50, 100, 200, 300])
def test_at_one_in_float32_the_sum_is_that_of_float32(degree):
    numerator, denominator = (reduce(operator.add, torch.tensor(row)).item() for row in pade_coefficients(degree))
    assert pade_approximant(torch.ones(1), degree).item() == pytest.approx(numerator / denominator, rel=1e-7)


def test_the_default_degree_is_that_of_the_paper():
    assert pade_coefficients() == pade_coefficients(100)
    x = torch.tensor([0.3, 0.9], dtype=torch.float64)
    assert torch.equal(pade_approximant(x), pade_approximant(x, 100))
