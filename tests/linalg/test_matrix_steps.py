"""What is special about the steps; their values are in tests/metalayers/test_values.py."""

import pytest
import torch

from gcp_repro.errors import GCPError, OptionError, UnknownNameError
from gcp_repro.linalg import covariance
from gcp_repro.linalg.matrix_steps import MATRIX_STEPS, power_of_largest
from gcp_repro.metalayers import build_meta_layer
from tests.tolerances import relative_error, rounding


def noise(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def test_rank_1_update_of_many_steps_scales_the_largest_eigenvalue_alone():
    p = covariance(noise(2, 5, 30) * torch.tensor([3.0, 1.0, 0.8, 0.5, 0.2], dtype=torch.float64)[:, None])
    updated = MATRIX_STEPS.resolve("rank1_update", eta=0.4, num_iterations=200).apply(p)
    eigenvalues, vectors = torch.linalg.eigh(p)
    eigenvalues[:, -1] *= 0.6**2
    assert relative_error(updated, (vectors * eigenvalues.unsqueeze(-2)) @ vectors.mT) < rounding(30)


def test_rank_1_update_is_that_of_the_features_and_repeats():
    x, step = noise(1, 6, 9), MATRIX_STEPS.resolve("rank1_update", eta=1.0)
    updated = step.apply(x @ x.mT)
    assert torch.equal(updated, MATRIX_STEPS.resolve("rank1_update", eta=1.0).apply(x @ x.mT))
    assert not torch.allclose(updated, MATRIX_STEPS.resolve("rank1_update", eta=1.0, seed=1).apply(x @ x.mT))
    eigenvalues = torch.linalg.eigvalsh(updated)
    assert eigenvalues[0, 0].abs() < rounding(6) * eigenvalues[0, -1]  # the direction is gone


def test_the_sparse_inverse_of_a_well_conditioned_matrix_is_its_inverse_without_penalty():
    p = covariance(noise(2, 4, 400))
    found = MATRIX_STEPS.resolve("isice", sparsity=0.0, inverse_iterations=20).apply(p)
    inverse = torch.linalg.inv(p / p.diagonal(dim1=-2, dim2=-1).sum(-1)[:, None, None])
    expected = inverse / inverse.diagonal(dim1=-2, dim2=-1).sum(-1).sqrt()[:, None, None]
    assert relative_error(found, expected) < rounding(4, 2.25**4)


def test_a_penalty_makes_entries_zero():
    p = covariance(noise(1, 6, 50))
    counts = [
        (MATRIX_STEPS.resolve("isice", sparsity=sparsity, step_size=20.0).apply(p) == 0).sum().item() for sparsity in (0.0, 0.05)
    ]
    assert counts[0] == 0
    assert counts[1] > 0


def test_log_cholesky_of_a_diagonal_matrix_is_its_logarithm():
    values = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64)
    found = MATRIX_STEPS.resolve("log_cholesky", epsilon=1e-3).apply(torch.diag(values)[None])
    assert relative_error(found[0], torch.diag((values + 1e-3).log())) < rounding(3)


def test_log_cholesky_of_ill_conditioned_matrices_has_a_value():
    """An epsilon below the rounding of the matrix is raised to it."""
    vectors = torch.linalg.qr(noise(20, 20))[0]
    p = ((vectors * torch.logspace(12, -12, 20, dtype=torch.float64)) @ vectors.mT)[None]
    found = MATRIX_STEPS.resolve("log_cholesky", epsilon=1e-12).apply(0.5 * (p + p.mT))
    assert found.isfinite().all()
    smallest = 4 * 20 * torch.finfo(torch.float64).eps * p[0].trace()
    assert found[0].diagonal().min() >= smallest.log() - 1


@pytest.mark.parametrize("diagonal", [[-1.0, 1.0], [1.0, -1.0]])
def test_log_cholesky_refuses_what_is_not_positive_definite(diagonal):
    p = torch.stack([torch.eye(2), torch.diag(torch.tensor(diagonal))])
    with pytest.raises(GCPError, match=r"positive definite with epsilon=0.1 added; got one that is not, of trace 2: take"):
        MATRIX_STEPS.resolve("log_cholesky", epsilon=0.1).apply(p)


def test_log_cholesky_keeps_nan_to_its_matrix():
    p = covariance(noise(3, 4, 9))
    p[1] = torch.nan
    found = MATRIX_STEPS.resolve("log_cholesky").apply(p)
    assert found[1].isnan().all()
    assert torch.equal(found[[0, 2]], MATRIX_STEPS.resolve("log_cholesky").apply(p[[0, 2]]))


def test_power_of_a_matrix_that_is_not_square():
    m = noise(2, 3, 5)
    found = power_of_largest(m, 0.5, 3, 3000)
    left, values, right = torch.linalg.svd(m, full_matrices=False)
    gap = (values[:, 1:] / values[:, :-1]).max() ** (2 * 3000)
    assert gap < 1e-16
    assert relative_error(found, (left * values.sqrt().unsqueeze(-2)) @ right) < rounding(5, 100)


def test_steps_know_their_names_and_options():
    assert set(MATRIX_STEPS) == {"identity", "svpn", "rank1_update", "isice", "log_cholesky"}
    assert str(MATRIX_STEPS.resolve("log_cholesky")) == "log_cholesky(epsilon=1e-06)"
    with pytest.raises(UnknownNameError, match="no matrix step 'isic'; nearest: 'isice'"):
        MATRIX_STEPS.resolve("isic")
    with pytest.raises(OptionError, match=r"num_iterations must be a whole number >= 2; got 1 for matrix step 'isice'"):
        MATRIX_STEPS.resolve("isice", num_iterations=1)
    with pytest.raises(OptionError, match=r"epsilon must be a number > 0 .*; got 0"):
        MATRIX_STEPS.resolve("log_cholesky", epsilon=0)


@pytest.mark.parametrize("scale", [1e-120, 1e-60, 1e-30, 1e60])
def test_singular_values_of_any_scale(scale):
    """Of `c M` they are `c` times those of `M`; with `a = 1` nothing else of the formula depends on `c`."""
    matrix = noise(2, 4, 5)
    found, expected = (power_of_largest(m, 1.0, 2, 3) for m in (scale * matrix, matrix))
    assert relative_error(found / scale, expected) < rounding(5)


@pytest.mark.parametrize("name", ["svpn", "rank1_update"])
def test_all_derivatives_at_the_zero_matrix_are_numbers(name):
    matrix = torch.zeros(1, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(MATRIX_STEPS.resolve(name).apply(matrix), matrix, noise(1, 4, 4), create_graph=True)
    (second,) = torch.autograd.grad(gradient, matrix, noise(1, 4, 4, seed=1))
    assert gradient.isfinite().all()
    assert second.isfinite().all()


@pytest.mark.parametrize("positions", [1, 49])
def test_rank_1_update_leaves_nothing_of_a_matrix_of_rank_1(positions):
    """As of a blank image, whose rounding errors the signed root and the l2 norm would bring to length 1."""
    features = noise(3, 12, 1).expand(3, 12, positions).contiguous().requires_grad_()
    output = build_meta_layer("rank1_update")(features)
    (gradient,) = torch.autograd.grad(output.sum(), features)
    assert not output.any()
    assert not gradient.any()
