"""Divisors that are no zeros, and the Newton-Schulz iteration, on numbers that can be worked out."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.linalg.matrices import divisor, newton_schulz_iterates, newton_schulz_iteration, trace
from tests.tolerances import relative_error, rounding


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_what_is_divided_by_a_divisor_and_its_reciprocal_stay_finite(dtype):
    tiny = torch.finfo(dtype).tiny
    scales = torch.tensor([0.0, -1.0, tiny / 8, tiny, 3.0], dtype=dtype, requires_grad=True)
    found = divisor(scales)
    assert found.tolist() == [1, 1, 1, tiny, 3]
    assert found.reciprocal().isfinite().all()
    assert torch.autograd.grad(found.sum(), scales)[0].tolist() == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("count", [1, 2, 5])
def test_iterates_are_those_of_each_eigenvalue(count):
    eigenvalues = torch.tensor([0.6, 0.3, 0.1, 0.0], dtype=torch.float64)
    basis, _ = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))
    y, z = eigenvalues, torch.ones(4, dtype=torch.float64)
    for _ in range(count):
        step = (3 - z * y) / 2
        y, z = y * step, z * step
    a = (basis * eigenvalues @ basis.mT)[None]
    assert trace(a).item() == pytest.approx(1, abs=rounding(4))
    kept = [(torch.empty_like(a), torch.empty_like(a)) for _ in range(count - 1)]
    before_last_y, before_last_z, step = newton_schulz_iterates(a, kept)
    for found in (newton_schulz_iteration(a, count), (before_last_y @ step, step @ before_last_z)):
        for part, expected in zip(found, (y, z), strict=True):
            assert relative_error(part, (basis * expected @ basis.mT)[None]) < rounding(4, 1.5**count)
