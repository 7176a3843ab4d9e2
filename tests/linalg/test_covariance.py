"""Contrasts of positions, and triangles of products."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.errors import ShapeError
from gcp_repro.linalg.covariance import (
    contrasts,
    covariance,
    diagonal_of_triangle,
    from_upper_triangle,
    symmetric_from_upper_triangle,
    twice_symmetric_from_upper_triangle,
    upper_triangle,
    write_features,
    write_upper_triangle_of_product,
)

F64 = torch.float64


def _random(*shape, seed=0, dtype=F64):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("positions", [1, 2, 8, 9])
def test_contrasts_have_the_covariance_of_the_features(positions):
    features = 1e3 + _random(2, 4, positions)
    z = contrasts(features, F64)
    assert z.shape == (2, 4, positions if positions % 2 == 0 else positions - 1)
    error = (z @ z.mT / positions - covariance(features)).abs().max()
    assert error <= 100 * torch.finfo(F64).eps * 1e3  # of the mean that is subtracted


@pytest.mark.parametrize("positions", [8, 9])
def test_contrasts_of_float32_features_are_computed_in_float64(positions):
    features = _random(2, 4, positions, dtype=torch.float32)
    torch.testing.assert_close(contrasts(features, F64).clone(), contrasts(features.double(), F64), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("positions", [8, 9])
def test_write_features_is_the_adjoint_of_contrasts(positions):
    x, result = _random(2, 4, positions), torch.empty(2, 4, positions, dtype=F64)
    gradient = _random(2, 4, 4, seed=1) @ contrasts(_random(2, 4, positions, seed=2), F64)
    write_features(gradient.clone(), result)
    torch.testing.assert_close((contrasts(x, F64) * gradient).sum(), (x * result).sum())
    assert result.sum(-1).abs().max() < 1e-13


@pytest.mark.parametrize("size", [1, 5, 128, 131])
@pytest.mark.parametrize("dtype", [F64, torch.float32])
def test_triangle_of_a_product(size, dtype):
    left = _random(2, size, 3)
    output, diagonal = torch.empty(2, size * (size + 1) // 2, dtype=dtype), _random(2, 1, seed=1)
    write_upper_triangle_of_product(2 * left, left, diagonal, output)
    expected = upper_triangle(2 * left @ left.mT + diagonal.unsqueeze(-1) * torch.eye(size, dtype=F64))
    torch.testing.assert_close(output, expected.to(dtype))


def test_triangles_and_matrices():
    vector = torch.tensor([[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]])
    assert from_upper_triangle(vector, 3)[0].tolist() == [[1, 2, 3], [2, 4, 5], [3, 5, 6]]
    assert symmetric_from_upper_triangle(vector, 3)[0].tolist() == [[1, 1, 1.5], [1, 4, 2.5], [1.5, 2.5, 6]]
    twice = twice_symmetric_from_upper_triangle(vector, 3, F64)
    assert twice.dtype == F64
    assert torch.equal(twice, 2 * symmetric_from_upper_triangle(vector, 3).double())
    assert torch.equal(upper_triangle(from_upper_triangle(vector, 3)), vector)
    with torch.no_grad():
        assert torch.equal(upper_triangle(from_upper_triangle(vector, 3)), vector)


def test_the_diagonal_of_a_triangle_has_its_dtype():
    for size, dtype in ((1, torch.float32), (4, F64), (5, torch.float16)):
        found = diagonal_of_triangle(torch.zeros(2, size * (size + 1) // 2, dtype=dtype))
        assert found.dtype == dtype
        assert torch.equal(from_upper_triangle(found, size), torch.eye(size, dtype=dtype))


def test_autocast_leaves_the_covariance_in_the_dtype_of_the_features():
    features = _random(2, 4, 9, dtype=torch.float32)
    outside = covariance(features)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = covariance(features)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda: covariance(torch.ones(3, 4, dtype=torch.complex64)),
            r"features \(\.\.\., C, N\), N .* got torch.complex64 \(3, 4\)",
        ),
        (lambda: covariance(torch.ones(3, 4, dtype=torch.int64)), r"got torch.int64 \(3, 4\): pass x.flatten\(2\) of maps"),
        (lambda: covariance(torch.ones(2, 3, 0)), r"got torch.float32 \(2, 3, 0\)"),
        (lambda: covariance([[1.0]]), "got list"),
        (lambda: upper_triangle(torch.ones(5, 4)), r"upper_triangle needs \(\.\.\., C, C\); got torch.float32 \(5, 4\)"),
        (lambda: upper_triangle(torch.ones(4)), r"got torch.float32 \(4,\): pass square matrices"),
        (
            lambda: from_upper_triangle(torch.ones(2, 10), 3),
            r"needs \(\.\.\., 6\) for size=3; got torch.float32 \(2, 10\): pass the",
        ),
    ],
)
def test_other_shapes_are_refused(call, words):
    """Some of them would have had a value."""
    with pytest.raises(ShapeError, match=words):
        call()
