"""Second derivatives and transforms of the layers, at any rank."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.errors import OptionError
from gcp_repro.linalg import matrix_sqrt
from gcp_repro.metalayers import build_meta_layer

OPTIONS = [{}, {"route": "dense"}, {"solver": "products"}]


def _random(*shape, seed=2):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("shape", [(2, 3, 6), (2, 4, 3), (1, 4, 4), (1, 4, 5), (1, 4, 1), (1, 1, 4)])
def test_derivatives_of_svd_lyapunov(options, shape):
    """Also where the covariance is singular: as many positions as channels, and fewer."""
    layer = build_meta_layer("svd_lyapunov", **options)
    features = _random(*shape).requires_grad_()
    assert torch.autograd.gradcheck(layer, features)
    assert torch.autograd.gradgradcheck(layer, features, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(("channels", "positions"), [(6, 5), (4, 7)])
def test_second_derivative_along_features_of_rank_two(options, channels, positions):
    right = _random(2, positions, seed=3)
    layer = build_meta_layer("svd_lyapunov", **options)
    assert torch.autograd.gradgradcheck(
        lambda left: layer((left @ right)[None]), _random(channels, 2).requires_grad_(), atol=1e-4
    )


def test_second_derivative_of_the_root_of_singular_matrices():
    assert torch.autograd.gradgradcheck(lambda a: matrix_sqrt(a @ a.mT), _random(5, 2).requires_grad_(), atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("features", [torch.zeros(1, 5, 7), torch.full((1, 5, 3), 2.0), torch.ones(1, 5, 1)], ids=str)
def test_second_derivative_of_constant_features_is_finite(options, features):
    x = features.double().requires_grad_()
    output = build_meta_layer("svd_lyapunov", **options)(x)
    (gradient,) = torch.autograd.grad(output, x, _random(*output.shape), create_graph=True)
    (second,) = torch.autograd.grad(gradient, x, _random(*x.shape))
    assert second.isfinite().all()


def test_hessians_by_functorch_and_no_third_derivative():
    def loss(x):
        return build_meta_layer("svd_lyapunov")(x[None]).square().sum()

    x = _random(3, 5)
    hessian = torch.func.jacrev(torch.func.jacrev(loss))(x)
    torch.testing.assert_close(hessian, torch.autograd.functional.hessian(loss, x))
    batched = torch.func.vmap(torch.func.jacrev(torch.func.jacrev(loss)))(torch.stack([x, 2 * x]))
    torch.testing.assert_close(batched[0], hessian)
    x.requires_grad_()
    derivative = loss(x)
    for _ in range(2):
        (derivative,) = torch.autograd.grad(derivative.sum(), x, create_graph=True)
    with pytest.raises(OptionError, match="can be differentiated twice; a third derivative was asked for"):
        torch.autograd.grad(derivative.sum(), x)


def test_a_root_of_some_eigenvalues_has_no_second_derivative():
    """Its gradient holds the others at 0, which is not what the formula of the second derivative says."""
    matrix, features = torch.eye(3, dtype=torch.float64).requires_grad_(), _random(1, 3, 5).requires_grad_()
    layer = build_meta_layer("spectral", gradient="lyapunov", top_n=2)
    for output, x in ((matrix_sqrt(matrix, top_n=2), matrix), (layer(features), features)):
        (gradient,) = torch.autograd.grad(output.sum(), x, create_graph=True)
        with pytest.raises(OptionError, match="has no second derivative for its gradient rule"):
            gradient.sum().backward()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_gradient_for_each_image_of_one_position(options):
    """Nothing is kept for its backward: those tensors have no entries."""
    layer, x = build_meta_layer("svd_lyapunov", **options), _random(3, 4, 1)
    each = torch.func.vmap(torch.func.grad(lambda image: layer(image[None]).sum()))(x)
    assert torch.equal(each, torch.func.grad(lambda images: layer(images).sum())(x))


def test_the_older_way_to_map_over_gradients_is_refused():
    x = _random(2, 3, 5).requires_grad_()
    output = build_meta_layer("svd_lyapunov")(x)
    with pytest.raises(OptionError, match=r"got is_grads_batched=True .*: use torch.func.vmap, jacrev"):
        torch.autograd.grad(output, x, torch.ones(3, *output.shape, dtype=x.dtype), is_grads_batched=True)
