"""Derivatives of the second moment and the signed root are those of their formulas, with less kept."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.linalg.signed_root import LINEAR, second_moment, signed_root_and_normalise

F64 = torch.float64


def _random(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def _formula(x):
    moment = (x @ x.mT / x.shape[-1]).flatten(1)
    shares = moment / moment.detach().abs().amax(1, keepdim=True)
    rooted = torch.where(shares.abs() < LINEAR, shares / LINEAR**0.5, shares.sign() * shares.abs().clamp(min=LINEAR).sqrt())
    return rooted / rooted.norm(dim=1, keepdim=True)


def _layer(x):
    return signed_root_and_normalise(second_moment(x).flatten(1), F64)


@pytest.fixture
def features():
    """The second channel is nearly orthogonal to the others: entries on the line near 0 as well as on the root."""
    x = _random(2, 3, 4)
    x[:, 1] *= 1e-8
    return x.requires_grad_()


def test_value_and_gradient_are_those_of_the_formula(features):
    torch.testing.assert_close(_layer(features), _formula(features))
    weights = _random(2, 9, seed=1)
    gradients = [torch.autograd.grad(f(features), features, weights)[0] for f in (_layer, _formula)]
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-10)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch's own forward mode uses it
def test_all_derivatives_and_transforms():
    x, weights = _random(1, 3, 4).requires_grad_(), _random(1, 9, seed=1)
    assert torch.autograd.gradcheck(_layer, x, check_forward_ad=True)
    assert torch.autograd.gradgradcheck(_layer, x)
    hessians = [torch.func.hessian(lambda x, f=f: (f(x) * weights).sum())(x) for f in (_layer, _formula)]
    torch.testing.assert_close(*hessians)
    batch = torch.stack([x.detach(), 2 * x.detach()])
    jacobians = [torch.func.vmap(torch.func.jacrev(f))(batch) for f in (_layer, _formula)]
    torch.testing.assert_close(*jacobians)


def test_narrow_features_get_narrow_gradients():
    x = _random(1, 3, 4).half().requires_grad_()
    moment = second_moment(x)
    assert moment.dtype == F64
    assert torch.autograd.grad(moment.sum(), x)[0].dtype == torch.float16
    assert signed_root_and_normalise(moment.flatten(1), torch.float16).dtype == torch.float16
