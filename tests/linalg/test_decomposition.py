"""Decompositions, and which eigenvalues count: thresholds by numbers on either side of them."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.errors import GCPError, NonFiniteError
from gcp_repro.linalg import decomposition
from gcp_repro.linalg.decomposition import (
    check_semi_definite,
    decompose,
    decompose_gram,
    keep_largest,
    nonzero_spectrum,
    number_kept,
    require_finite,
    singular_values,
)
from tests.tolerances import rounding

F64 = torch.float64
EPS = torch.finfo(F64).eps


def _random(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("on_host", [False, True])
def test_eigenvectors_of_the_lower_triangle_ascending_and_in_lapacks_order(on_host):
    x = _random(3, 4, 6)
    matrix = x @ x.mT
    values, vectors = decompose(matrix + torch.triu(torch.full_like(matrix, 9.0), 1), on_host)
    assert vectors.mT.is_contiguous()
    assert (values.diff(dim=-1) > 0).all()
    torch.testing.assert_close(
        vectors * values.unsqueeze(-2) @ vectors.mT, matrix, rtol=0, atol=rounding(4) * values.max().item()
    )


@pytest.mark.parametrize("shape", [(4, 7), (7, 4)])
@pytest.mark.parametrize("on_host", [False, True])
def test_singular_values_ascend_with_their_vectors_whatever_the_order_of_rows(shape, on_host):
    x = _random(3, *shape) * torch.tensor([1e-3, 1.0, 1e-1, 1e-2, 10.0, 1e-4, 1.0], dtype=F64)[: shape[0], None]
    u, s, vt = singular_values(x, on_host)
    assert (u.shape, s.shape, vt.shape) == ((3, shape[0], 4), (3, 4), (3, 4, shape[1]))
    assert (s.diff(dim=-1) > 0).all()
    torch.testing.assert_close(u * s.unsqueeze(-2) @ vt, x, rtol=0, atol=rounding(7) * s.max().item())


def _lapacks(tall):
    """In the place of cuSOLVER's driver, which needs a GPU."""
    _, s, vt = torch.linalg.svd(tall, full_matrices=False)
    return s, vt


def _with_rank(rows, columns, rank):
    return _random(2, rows, rank) @ _random(2, rank, columns, seed=1)


@pytest.mark.parametrize(
    "z", [_with_rank(7, 4, 4), 1e-8 * _with_rank(7, 4, 2), _with_rank(4, 4, 3), torch.zeros(2, 5, 3, dtype=F64)]
)
@pytest.mark.parametrize("by_columns", [True, False])
def test_a_gram_matrix_by_singular_values_is_that_by_eigenvalues(monkeypatch, z, by_columns):
    monkeypatch.setattr(decomposition, "_gesvda", _lapacks)
    tall = z if by_columns else z.flip(-2)  # any other of its kind
    values, vectors = decomposition._decompose_by_svd(tall)
    expected, _ = decompose_gram(tall if by_columns else tall.mT, by_columns)
    scale, size = expected.max().item() or 1, max(z.shape)
    torch.testing.assert_close(values, expected, rtol=0, atol=rounding(size) * scale)
    gram, eye = tall.mT @ tall, torch.eye(tall.shape[-1], dtype=F64)
    torch.testing.assert_close(vectors * values.unsqueeze(-2) @ vectors.mT, gram, rtol=0, atol=rounding(size) * scale)
    torch.testing.assert_close(vectors.mT @ vectors, eye.expand_as(gram), rtol=0, atol=rounding(size))
    assert torch.equal(nonzero_spectrum(values, size) > 0, nonzero_spectrum(expected, size) > 0)


def test_what_the_driver_of_singular_values_cannot_do_is_left_to_eigenvalues(monkeypatch):
    monkeypatch.setattr(decomposition, "_gesvda", lambda tall: (torch.full((1,), torch.nan), torch.zeros(1)))
    assert decomposition._decompose_by_svd(_random(2, 5, 3)) is None

    def fail(tall):
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(decomposition, "_gesvda", fail)
    assert decomposition._decompose_by_svd(_random(2, 5, 3)) is None
    for hopeless in (torch.nan, 1e200):
        assert decomposition._decompose_by_svd(torch.full((1, 3, 2), hopeless, dtype=F64)) is None
        with pytest.raises(NonFiniteError, match=r"in a chunk of shape \(1, 2, 2\)"):
            decompose_gram(torch.full((1, 3, 2), hopeless, dtype=F64), by_columns=True)


def test_a_solver_that_gives_up_on_the_host_is_an_error_and_asked_once(monkeypatch):
    asked = []

    def gives_up(matrix):
        asked.append(matrix.shape)
        raise torch.linalg.LinAlgError("did not converge")

    monkeypatch.setattr(decomposition, "_eigh", gives_up)
    for on_host in (False, True):
        with pytest.raises(torch.linalg.LinAlgError, match="did not converge"):
            decompose(torch.eye(3)[None], on_host)
    assert asked == [(1, 3, 3), (1, 3, 3)]


def test_sums_that_overflow_are_no_reason_to_refuse():
    require_finite(torch.full((2, 2), torch.finfo(F64).max, dtype=F64))
    for bad in (torch.nan, torch.inf):
        with pytest.raises(NonFiniteError, match=r"NaN or infinite entries in a chunk of shape \(2, 2\)"):
            require_finite(torch.tensor([[1.0, bad], [0.0, 1.0]]))


def test_negative_eigenvalues_are_noise_up_to_the_root_of_eps_of_the_dtype_that_was_given():
    for dtype in (F64, torch.float32):
        tolerance = 2 * torch.finfo(dtype).eps ** 0.5
        check_semi_definite(torch.tensor([[0.0, 1.0], [-0.99 * tolerance, 2.0]], dtype=F64), dtype)
        with pytest.raises(GCPError, match=r"positive semi-definite; got an eigenvalue of -"):
            check_semi_definite(torch.tensor([[0.0, 1.0], [-1.01 * tolerance, 2.0]], dtype=F64), dtype)
    with pytest.raises(GCPError, match="an eigenvalue of -5:"):
        check_semi_definite(torch.tensor([[-5.0, -1.0]], dtype=F64), F64)


def test_what_is_below_size_times_eps_of_the_largest_is_zero():
    for squared, share in ((False, 10 * EPS), (True, (10 * EPS) ** 2)):
        noise = 4 * share
        spectrum = torch.tensor([[-1.0, 0.9 * noise, 1.1 * noise, 4.0]], dtype=F64)
        assert nonzero_spectrum(spectrum, 10, squared=squared).tolist() == [[0.0, 0.0, 1.1 * noise, 4.0]]
    tiny = torch.finfo(F64).tiny
    assert nonzero_spectrum(torch.tensor([[0.5 * tiny, 2 * tiny]], dtype=F64), 2).tolist() == [[0.0, 2 * tiny]]


def test_the_largest_are_kept():
    assert [number_kept(n, 10) for n in (None, 3, 0.26, 0.01, 0.99)] == [None, 3, 3, 1, 10]
    spectrum = torch.tensor([[1.0, 2.0, 3.0]])
    assert keep_largest(spectrum, 2, 0.5).tolist() == [[0.5, 2.0, 3.0]]
    assert keep_largest(spectrum, 1).tolist() == [[0.0, 0.0, 3.0]]
    assert spectrum.tolist() == [[1.0, 2.0, 3.0]]
    assert keep_largest(spectrum, 3) is keep_largest(spectrum, None) is spectrum
