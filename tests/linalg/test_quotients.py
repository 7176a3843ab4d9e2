"""The quotients that stand for `1 / (l_i - l_j)`, and their bounds."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.linalg.quotients import DIFFERENCE_QUOTIENTS, geometric_sum

LARGER = torch.tensor([1.0, 2.0, 5.0, 0.5], dtype=torch.float64)
SMALLER = torch.tensor([0.5, 0.0, 4.0, 0.25], dtype=torch.float64)


@pytest.mark.parametrize("degree", range(20))
def test_geometric_sums_of_every_length(degree):
    x = torch.tensor([0.0, 0.5, 1.0, 2.0, -1.0], dtype=torch.float64)
    assert geometric_sum(x, degree).tolist() == [sum(v**k for k in range(degree + 1)) for v in x.tolist()]
    assert x.tolist() == [0.0, 0.5, 1.0, 2.0, -1.0]  # nothing is done in place


def test_bounds():
    """Of the clipped quotient T, of the Taylor sum (K + 1) / l_i; both are reached by equal eigenvalues."""
    same = torch.tensor([2.0], dtype=torch.float64)
    assert DIFFERENCE_QUOTIENTS["trunc"](same, same, max_gradient=3.0).item() == 3.0
    assert DIFFERENCE_QUOTIENTS["taylor"](same, same, degree=9).item() == 5.0
    assert DIFFERENCE_QUOTIENTS["svd"](same, same).item() == torch.inf


@pytest.mark.parametrize("name", DIFFERENCE_QUOTIENTS)
def test_all_stand_for_the_same_number(name):
    """Of pairs whose ratio is at most a half, the defaults' error is below rounding; the third pair's is 0.8^101."""
    expected = (LARGER - SMALLER).reciprocal()
    error = (DIFFERENCE_QUOTIENTS[name](LARGER, SMALLER) / expected - 1).abs()
    assert error[[0, 1, 3]].max() < 1e-13
    assert error[2] < (1e-9 if name == "taylor" else 1e-12)
    assert name != "taylor" or error[2] > 1e-10
