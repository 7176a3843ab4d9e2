"""Spectral functions as functions of eigenvalues: scale, limits, zeros; on matrices: `tests/metalayers/test_values.py`."""

from __future__ import annotations

import itertools

import pytest
import torch

from gcp_repro.linalg import SPECTRAL_FUNCTIONS, spectral_function
from tests.tolerances import rounding

EPS = torch.finfo(torch.float64).eps
TINY = torch.finfo(torch.float64).tiny
ROOTS = ["sqrt", "newton_schulz", "pade_root", "taylor_root"]
OPTIONS = {"power": {"exponent": 0.3}}


def spectrum(*eigenvalues):
    return torch.tensor([eigenvalues], dtype=torch.float64)


@pytest.mark.parametrize("scale", [1e-280, 1e-100, 1e100, 1e280])
@pytest.mark.parametrize("name", ROOTS)
def test_roots_scale_as_the_root_does_at_any_scale(name, scale):
    """`f(c l) = sqrt(c) f(l)`, tables with `1 / sqrt(c)`: all of them divide by a norm first, which must not overflow."""
    function, eigenvalues = spectral_function(name), spectrum(0.0, 0.5, 0.5, 2.0)
    torch.testing.assert_close(
        function.value(scale * eigenvalues) / scale**0.5, function.value(eigenvalues), rtol=16 * EPS, atol=16 * EPS
    )
    found, expected = function.gradient(scale * eigenvalues), function.gradient(eigenvalues)
    torch.testing.assert_close(found.table * scale**0.5, expected.table, rtol=1e-12, atol=0)
    upstream = torch.ones(1, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(
        found.apply_(upstream.clone()) * scale**0.5, expected.apply_(upstream.clone()), rtol=1e-11, atol=1e-12
    )


@pytest.mark.parametrize("name", SPECTRAL_FUNCTIONS)
def test_nothing_is_infinite_where_there_is_nothing(name):
    function = spectral_function(name, **OPTIONS.get(name, {}))
    for eigenvalues in (spectrum(0.0, 0.0), spectrum(0.0, TINY), spectrum(0.0, 0.0, 1.0)):
        assert function.value(eigenvalues).isfinite().all()
        assert all(part is None or part.isfinite().all() for part in function.gradient(eigenvalues))


@pytest.mark.parametrize("name", SPECTRAL_FUNCTIONS)
def test_the_diagonal_of_the_table_is_the_slope(name):
    """Along one eigenvalue, the others fixed, by central differences; their error is about 1e-5^2."""
    function, eigenvalues, step = spectral_function(name, **OPTIONS.get(name, {})), spectrum(0.2, 0.7, 1.1), 1e-5
    table = function.gradient(eigenvalues)
    for j in range(3):
        unit = step * torch.eye(3, dtype=torch.float64)[j]
        slope = ((function.value(eigenvalues + unit) - function.value(eigenvalues - unit)) / (2 * step))[0]
        upstream = torch.eye(3, dtype=torch.float64)
        expected = torch.stack([table.apply_((upstream[i][:, None] * upstream[i])[None])[0, j, j] for i in range(3)])
        torch.testing.assert_close(slope, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("name", SPECTRAL_FUNCTIONS)
def test_off_the_diagonal_the_table_holds_divided_differences(name):
    function, eigenvalues = spectral_function(name, **OPTIONS.get(name, {})), spectrum(0.0, 0.2, 0.7, 1.1)
    images, table = function.value(eigenvalues), function.gradient(eigenvalues).table
    for i, j in itertools.permutations(range(4), 2):
        expected = (images[0, i] - images[0, j]) / (eigenvalues[0, i] - eigenvalues[0, j])
        torch.testing.assert_close(table[0, i, j], expected, rtol=rounding(condition=600), atol=0)  # of pade_root's at 0


def test_newton_schulz_becomes_the_root_from_below():
    eigenvalues, root = spectrum(1e-3, 0.3, 1.0), spectral_function("sqrt")
    values = [spectral_function("newton_schulz", num_iterations=k).value(eigenvalues) for k in (1, 3, 5, 30)]
    assert all((before <= after).all() for before, after in itertools.pairwise(values))
    torch.testing.assert_close(values[-1], root.value(eigenvalues), rtol=16 * EPS, atol=0)
    torch.testing.assert_close(
        spectral_function("newton_schulz", num_iterations=30).gradient(eigenvalues).table,
        root.gradient(eigenvalues).table,
        rtol=1e-12,
        atol=0,
    )


@pytest.mark.parametrize("exponent", [1.0, 2.0, -0.5, 0.25])
def test_a_power_keeps_zeros_and_equal_eigenvalues_have_its_slope(exponent):
    power, eigenvalues = spectral_function("power", exponent=exponent), spectrum(0.0, 3.0, 3.0)
    assert power.value(eigenvalues)[0, 0] == 0
    table = power.gradient(eigenvalues).table[0]
    torch.testing.assert_close(table[1, 2].item(), exponent * 3.0 ** (exponent - 1), rtol=1e-14, atol=0)
    torch.testing.assert_close(table[0, 1].item(), 3.0 ** (exponent - 1), rtol=1e-14, atol=0)
    assert table[0, 0] == (1.0 if exponent == 1 else 0.0)


def test_the_logarithm_without_a_shift_is_that_on_the_range():
    log, eigenvalues = spectral_function("log", epsilon=0.0), spectrum(0.0, 1.0, 4.0)
    expected = torch.tensor([[0.0, 0.0, 4.0]], dtype=torch.float64).log()
    assert log.value(eigenvalues).tolist() == [[0.0, 0.0, expected[0, 2].item()]]
    table = log.gradient(eigenvalues).table[0]
    torch.testing.assert_close(table[0, 2].item(), expected[0, 2].item() / 4, rtol=1e-15, atol=0)
    torch.testing.assert_close(table[1, 2].item(), expected[0, 2].item() / 3, rtol=1e-15, atol=0)
    assert table[0, 0] == 0


@pytest.mark.parametrize(("name", "where"), [("sqrt", 1e-300), ("power", 1e-300), ("log", 1e-300)])
def test_divided_differences_of_numbers_far_apart(name, where):
    """Their ratio overflows where it is formed first."""
    options = {"power": {"exponent": 0.5 + 1e-9}, "log": {"epsilon": 0.0}}.get(name, {})
    function, eigenvalues = spectral_function(name, **options), spectrum(where, 1e300)
    small, large = function.value(eigenvalues)[0].tolist()
    found = function.gradient(eigenvalues).table[0, 0, 1].item()
    torch.testing.assert_close(found, (large - small) / 1e300, rtol=1e-7, atol=0)
