"""Public functions of matrices: values, exact gradients where torch's own are NaN, properties, errors."""

from __future__ import annotations

import hypothesis.strategies as st
import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from gcp_repro.errors import GCPError, NonFiniteError, OptionError, ShapeError, UnknownNameError
from gcp_repro.linalg import GRADIENT_RULES, covariance, matrix_inv_sqrt, matrix_log, matrix_power, matrix_sqrt
from tests.linalg import reference
from tests.tolerances import relative_error, rounding

F64 = torch.float64


def _symmetric(size: int, seed: int) -> torch.Tensor:
    x = torch.randn(size, size, dtype=F64, generator=torch.Generator().manual_seed(seed))
    return x + x.mT


def _spd(eigenvalues, seed: int = 0) -> torch.Tensor:
    values = torch.tensor(eigenvalues, dtype=F64)
    u, _ = torch.linalg.qr(_symmetric(len(values), seed))
    return (u * values) @ u.mT


@pytest.mark.parametrize("gradient", ["lyapunov", "exact"])
def test_root_of_the_identity_where_eigh_has_nan(gradient):
    cov = torch.eye(3, dtype=F64, requires_grad=True)
    upstream = _symmetric(3, 1)
    (g,) = torch.autograd.grad(matrix_sqrt(cov, gradient), cov, upstream)
    torch.testing.assert_close(g, upstream / 2)
    eigenvalues, u = torch.linalg.eigh(cov)
    naive = u @ torch.diag(eigenvalues.sqrt()) @ u.mT
    assert torch.autograd.grad(naive, cov, upstream)[0].isnan().any()  # what this function is for


@pytest.mark.parametrize("gradient", [*GRADIENT_RULES, "topn"])
def test_every_rule_is_finite_on_singular_and_repeated_spectra(gradient):
    for cov in (torch.zeros(4, 4, dtype=F64), torch.eye(4, dtype=F64), _spd([0.0, 0.0, 1.0, 1.0])):
        cov = cov.clone().requires_grad_()
        (g,) = torch.autograd.grad(matrix_sqrt(cov, gradient).sum(), cov)
        assert g.isfinite().all()


ON_THE_RANGE = {
    "sqrt": (matrix_sqrt, mp.sqrt),
    "inv_sqrt": (matrix_inv_sqrt, lambda v: 1 / mp.sqrt(v)),
    "power 1": (lambda p: matrix_power(p, 1.0), lambda v: v),
    "power 1.7": (lambda p: matrix_power(p, 1.7), lambda v: v ** mp.mpf(1.7)),
    "log": (matrix_log, mp.log),
}


@pytest.mark.parametrize("name", ON_THE_RANGE)
def test_gradient_on_rank_deficient_matrices_is_the_one_along_their_rank(name):
    """P(t) = (A + t D)(A + t D)^T keeps its rank; the chain rule through the function gives its slope."""
    function, scalar = ON_THE_RANGE[name]
    a = torch.randn(6, 3, dtype=F64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    direction, upstream = torch.randn(6, 3, dtype=F64, generator=torch.Generator().manual_seed(1)), _symmetric(6, 2)
    (g,) = torch.autograd.grad(function(a @ a.mT), a, upstream)
    with mp.workdps(reference.DIGITS):

        def value(a: mp.matrix) -> mp.matrix:
            return reference.on_eigenvalues(a * a.T, lambda ls: [scalar(v) if v > 0 else v for v in ls])

        slope = reference.central_difference(value, reference.to_mp(a), reference.to_mp(direction))
        expected = float(mp.fsum(upstream[i, j].item() * slope[i, j] for i in range(6) for j in range(6)))
    tolerance = rounding(6, torch.linalg.cond(a.detach()) ** 2)  # l_1 / l_r: docs/mathematics.md, section 2
    assert abs((g * direction).sum().item() - expected) < tolerance * g.norm().item() * direction.norm().item()


def test_first_power_is_the_identity_map_at_singular_matrices_too():
    cov = _spd([0.0, 0.0, 1.0, 1.0]).requires_grad_()
    upstream = _symmetric(4, 3)
    torch.testing.assert_close(torch.autograd.grad(matrix_power(cov, 1.0), cov, upstream)[0], upstream)


FUNCTIONS = {
    "sqrt": (matrix_sqrt, mp.sqrt),
    "inv_sqrt": (matrix_inv_sqrt, lambda v: 1 / mp.sqrt(v)),
    "power 1.7": (lambda p: matrix_power(p, 1.7), lambda v: v ** mp.mpf(1.7)),
    "power -2": (lambda p: matrix_power(p, -2.0), lambda v: v**-2),
    "power 0.3": (lambda p: matrix_power(p, 0.3), lambda v: v ** mp.mpf(0.3)),
    "power 20": (lambda p: matrix_power(p, 20.0), lambda v: v**20),
    "power -20": (lambda p: matrix_power(p, -20.0), lambda v: v**-20),
    "log": (matrix_log, mp.log),
    "log, shifted": (lambda p: matrix_log(p, 0.1), lambda v: mp.log(v + mp.mpf(0.1))),
}


@pytest.mark.parametrize(
    "spectrum", [[1.0, 2.0, 5.0], [2.0, 2.0, 2.0], [1e-9, 1e-4, 1.0], [1.0, 1.0 + 1e-12, 1.0 + 1e-6], [1e-6, 1.0, 1e6]]
)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_divided_differences_do_not_cancel(name, spectrum):
    """On diagonal matrices the gradient of entry (i, j) is the divided difference itself: every digit can be checked."""
    function, scalar = FUNCTIONS[name]
    cov = torch.diag(torch.tensor(spectrum, dtype=F64)).requires_grad_()
    value = function(cov)
    for i in range(3):
        for j in range(i, 3):
            (g,) = torch.autograd.grad(value[i, j] + (value[j, i] if i != j else 0), cov, retain_graph=True)
            with mp.workdps(60):
                a, b = mp.mpf(spectrum[i]), mp.mpf(spectrum[j])
                expected = mp.diff(scalar, a) if a == b else (scalar(a) - scalar(b)) / (a - b)
                error = abs(mp.mpf(g[i, j].item()) / expected - 1)
                condition = 1 + max(abs(mp.log(a)), abs(mp.log(b)))  # of a power, in the rounding of its exponent
            assert error < rounding(condition=condition), (i, j, g[i, j].item(), expected)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**20), size=st.integers(1, 7), rank=st.integers(0, 7), scale=st.sampled_from([1e-6, 1.0, 1e6]),
    gradient=st.sampled_from(["lyapunov", "newton_schulz", "taylor"]),
)  # fmt: skip
def test_properties_of_the_root(seed, size, rank, scale, gradient):
    generator = torch.Generator().manual_seed(seed)
    factor = torch.randn(size, min(rank, size), dtype=F64, generator=generator)
    cov = (factor @ factor.mT) * scale
    root = matrix_sqrt(cov, gradient)
    norm = cov.norm() + torch.finfo(F64).tiny
    assert (root @ root - cov).norm() <= rounding(size) * norm  # Q Q = P
    assert (root - root.mT).norm() <= rounding(size) * norm.sqrt()  # symmetric
    u, _ = torch.linalg.qr(torch.randn(size, size, dtype=F64, generator=generator))
    accuracy = rounding(size) ** 0.5  # |P^1/2 - (P + E)^1/2| <= |E|^1/2, however small the eigenvalues
    assert (matrix_sqrt(u @ cov @ u.mT) - u @ root @ u.mT).norm() <= accuracy * norm.sqrt()  # f(O P O^T) = O f(P) O^T
    assert (matrix_sqrt(4 * cov) - 2 * root).norm() <= rounding(size) * norm.sqrt()  # f(a P) = sqrt(a) f(P)
    batch = torch.stack([cov, torch.eye(size, dtype=F64)]).expand(3, 2, size, size)
    assert (matrix_sqrt(batch, gradient)[1, 0] - root).norm() <= accuracy * norm.sqrt()  # any leading dimensions


def test_gradcheck_and_second_derivative():
    cov = _spd([0.5, 0.5, 2.0], seed=3)

    def symmetric_root(x):
        return matrix_sqrt(cov + x @ x.mT)

    x = 0.1 * _symmetric(3, 4)
    x.requires_grad_()
    assert torch.autograd.gradcheck(symmetric_root, x)
    assert torch.autograd.gradgradcheck(symmetric_root, x)


def test_second_derivative_along_matrices_of_the_same_rank():
    """Of any product with the gradient, also with parts of both within the null space, against central differences."""
    generator = torch.Generator().manual_seed(5)
    x, dx = torch.randn(2, 4, 2, dtype=F64, generator=generator)
    upstream, direction = _symmetric(4, 6), _symmetric(4, 7)

    def gradient(t, **options):
        cov = (x + t * dx) @ (x + t * dx).mT
        cov.requires_grad_()
        return cov, torch.autograd.grad(matrix_sqrt(cov), cov, upstream, **options)[0]

    step = 1e-5
    change = ((gradient(step)[1] - gradient(-step)[1]) * direction).sum() / (2 * step)
    (second,) = torch.autograd.grad(*reversed(gradient(0.0, create_graph=True)), direction)
    along = dx @ x.mT
    assert ((second * (along + along.mT)).sum() - change).abs() < 1e-7 * change.abs()


def test_functorch_transforms():
    covs = torch.stack([_spd([1.0, 2.0, 3.0], seed) for seed in range(4)])
    torch.testing.assert_close(torch.func.vmap(matrix_sqrt)(covs), matrix_sqrt(covs))
    jacobian = torch.func.jacrev(matrix_sqrt)(covs[0])
    expected = torch.autograd.functional.jacobian(matrix_sqrt, covs[0])
    torch.testing.assert_close(jacobian, expected)
    torch.testing.assert_close(torch.func.vmap(torch.func.jacrev(matrix_sqrt))(covs)[0], expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_dtype_is_kept(dtype):
    cov = _spd([1.0, 2.0, 4.0]).to(dtype).requires_grad_()
    root = matrix_sqrt(cov)
    assert root.dtype == dtype
    root.sum().backward()
    assert cov.grad is not None
    assert cov.grad.dtype == dtype
    expected = matrix_sqrt(cov.detach().double())
    assert (
        relative_error(root.detach(), expected) < rounding(3, dtype=torch.float32) + torch.finfo(dtype).eps
    )  # computed, then cast


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_covariances_rounded_to_a_narrow_dtype_are_taken(dtype):
    """Rounding makes zero eigenvalues negative by up to eps of the largest, the eps of the dtype that was rounded to."""
    features = torch.randn(3, 64, 32, generator=torch.Generator().manual_seed(0)).relu()
    rounded = covariance(features).to(dtype)
    eigenvalues, u = torch.linalg.eigh(rounded.double())
    assert (eigenvalues[:, 0] < -(torch.finfo(torch.float32).eps ** 0.5) / 10 * eigenvalues[:, -1]).all()
    expected = (u * eigenvalues.clamp(min=0).sqrt().unsqueeze(-2)) @ u.mT
    rounded.requires_grad_()
    root = matrix_sqrt(rounded)
    assert (root.double() - expected).norm() < torch.finfo(dtype).eps * expected.norm()
    assert torch.autograd.grad(root.sum(), rounded)[0].isfinite().all()
    if dtype == torch.bfloat16:
        with pytest.raises(GCPError, match="positive semi-definite"):
            matrix_sqrt(rounded.detach().float())  # in float32 rounding does not explain it


def test_roots_of_covariances_under_autocast():
    features = torch.randn(3, 64, 32, generator=torch.Generator().manual_seed(0)).relu()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        by_covariance, by_product = matrix_sqrt(covariance(features)), matrix_sqrt(features @ features.mT)
    torch.testing.assert_close(by_covariance, matrix_sqrt(covariance(features)))
    assert by_product.dtype == torch.bfloat16


@pytest.mark.parametrize("function", [matrix_sqrt, matrix_inv_sqrt, lambda x: matrix_power(x, 2.0), matrix_log])
def test_each_function_names_itself(function):
    name = "matrix_power" if function.__name__ == "<lambda>" else function.__name__
    with pytest.raises(ShapeError, match=rf"^{name} needs \(\.\.\., C, C\), floating point; got torch.float32 \(2, 3\)"):
        function(torch.ones(2, 3))


def test_errors_say_what_came_and_what_to_do():
    with pytest.raises(ShapeError, match=r"matrix_sqrt needs \(\.\.\., C, C\).*got torch.float32 \(2, 3, 4\).*covariance"):
        matrix_sqrt(torch.ones(2, 3, 4))
    with pytest.raises(ShapeError, match=r"matrix_log needs a torch.Tensor; got list: convert it with torch.as_tensor"):
        matrix_log([[1.0]])
    with pytest.raises(UnknownNameError, match="no gradient rule 'pad'; nearest: 'pade'"):
        matrix_sqrt(torch.eye(2), "pad")
    with pytest.raises(OptionError, match="gradient rule 'trunc' has no option 'degree'; it has: max_gradient"):
        matrix_sqrt(torch.eye(2), "trunc", degree=3)
    with pytest.raises(OptionError, match=r"degree must be a whole number among 50, 100, 200, 300 .*; got 80"):
        matrix_sqrt(torch.eye(2), "pade", degree=80)
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        matrix_sqrt(torch.tensor([[1.0, float("nan")], [float("nan"), 1.0]]))
    with pytest.raises(GCPError, match="positive semi-definite; got an eigenvalue of -1"):
        matrix_sqrt(torch.diag(torch.tensor([1.0, -1.0])))
    with pytest.raises(OptionError, match="exponent must be a number that is finite and other than 0; got 0"):
        matrix_power(torch.eye(2), 0)
    with pytest.raises(OptionError, match=r"exponent must be .*; got nan"):
        matrix_power(torch.eye(2), float("nan"))
    x = torch.eye(2, requires_grad=True)
    (g,) = torch.autograd.grad(matrix_sqrt(x, "taylor").sum(), x, create_graph=True)
    with pytest.raises(OptionError, match="no second derivative"):
        g.sum().backward()


def test_second_derivative_of_bfloat16_matrices_is_that_of_float32_rounded():
    second = []
    for dtype in (torch.bfloat16, torch.float32):
        cov = torch.diag(torch.tensor([1.0, 4.0, 9.0])).to(dtype).requires_grad_()
        upstream, direction = (_symmetric(3, seed).bfloat16().to(dtype) for seed in (1, 2))
        (gradient,) = torch.autograd.grad(matrix_sqrt(cov), cov, upstream, create_graph=True)
        second.append(torch.autograd.grad(gradient, cov, direction)[0])
        assert second[-1].dtype == dtype
    torch.testing.assert_close(
        second[0].float(), second[1], rtol=0.0, atol=2 * torch.finfo(torch.bfloat16).eps * second[1].abs().max().item()
    )


def test_topn_keeps_200_of_256_eigenvalues_rounded_up_unless_told_otherwise():
    cov = torch.diag(torch.arange(1.0, 7.0, dtype=F64) ** 2)
    assert matrix_sqrt(cov, "topn").diagonal().tolist() == [0.0, 2.0, 3.0, 4.0, 5.0, 6.0]  # 4.69 of 6
    assert matrix_sqrt(torch.diag(torch.arange(1.0, 33.0)), "topn").diagonal().count_nonzero() == 25  # of 32
    for rule in ("topn", "svd"):
        assert matrix_sqrt(cov, rule, top_n=2).diagonal().tolist() == [0.0, 0.0, 0.0, 0.0, 5.0, 6.0]


@pytest.mark.parametrize("top_n", [-1, 0, 1.5, True, "all"])
@pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])
def test_numbers_of_eigenvalues_out_of_range_are_refused(compiled, top_n):
    torch._dynamo.reset()
    function = torch.compile(matrix_sqrt, backend="eager") if compiled else matrix_sqrt
    with pytest.raises(Exception, match=r"top_n must be a whole number >= 1, or a number .*; got .*leave it out") as caught:
        function(torch.eye(4), top_n=top_n)
    assert compiled or caught.type is OptionError
    torch._dynamo.reset()


def test_covariance_is_that_of_numpy():
    x = torch.randn(2, 5, 9, dtype=F64, generator=torch.Generator().manual_seed(0))
    assert relative_error(covariance(x)[1], torch.tensor(np.cov(x[1].numpy(), bias=True))) < rounding(9)


@pytest.mark.parametrize("function", [matrix_sqrt, matrix_log])
def test_sparse_matrices_are_refused(function):
    with pytest.raises(
        ShapeError, match=r"the matrix of matrix_\w+ must be a dense tensor .* got a torch.float32, torch.sparse_coo"
    ):
        function(torch.eye(3).to_sparse())
