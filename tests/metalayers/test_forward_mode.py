"""Forward mode is the transpose of reverse mode, for every layer, route and way to compute it."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import forward_ad

from gcp_repro.errors import OptionError
from gcp_repro.linalg import GRADIENT_RULES, matrix_log, matrix_sqrt
from gcp_repro.linalg.pooling import operators_for
from gcp_repro.metalayers import build_meta_layer
from tests.metalayers.inputs import PRECISE, VARIANTS, build

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch's own forward mode

SOLVED = [
    pytest.param(name, {**options, "solver": solver}, id=f"{name}-{options.get('route', 'only')}-{solver}")
    for name, options in (variant.values for variant in VARIANTS)
    if hasattr(build(name), "spec")
    for solver in operators_for(build(name, **options).spec, 4)
    if solver != "host"  # on a CPU it is the same as "device"
]
PLAIN = [("gap", {}), ("bcnn", {}), ("cbp", {"projection_dim": 50}), ("cross_covariance", {}), ("log_cholesky", {}), ("svpn", {}),
         ("epn", {}), ("rank1_update", {}), ("isice", {}), ("dropcov", {"dropout": "none"})]  # fmt: skip
TWICE = [("svd_lyapunov", {}), ("svd_lyapunov", {"route": "dense"}), ("svd_lyapunov", {"solver": "products"}), ("g2denet", {}),
         ("isqrt_cov", {"solver": "products"}), ("bcnn", {}), ("cbp", {"projection_dim": 50})]  # fmt: skip


def _random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _features(channels, positions):
    """Channels of different scale, so that eigenvalues are apart."""
    return _random(1, channels, positions) * torch.logspace(0, -1, channels, dtype=torch.float64)[:, None]


@pytest.mark.parametrize(("name", "options"), [*SOLVED, *PLAIN])
def test_jvp_is_the_jacobian_times_the_direction(name, options):
    """Where the covariance is singular too.

    But not on the dense route, whose gradient is its rounding noise there, and for the
    Cholesky factor, whose gradient has the reciprocal of its epsilon.
    """
    layer = build(name, **options)
    singular = options.get("route") != "dense" and name != "log_cholesky"
    for channels, positions in [(4, 9), (6, 4)] if singular else [(4, 9)]:
        x, direction = _features(channels, positions), _random(1, channels, positions, seed=1)
        value, tangent = torch.func.jvp(layer, (x,), (direction,))
        expected = (torch.func.jacrev(layer)(x) * direction).sum((-1, -2, -3))
        torch.testing.assert_close(value, layer(x), rtol=0, atol=0)
        assert (tangent - expected).norm() <= 1e-12 * expected.norm()


@pytest.mark.parametrize(("name", "options"), PRECISE)
def test_in_every_precision(name, options):
    """Forward and reverse round some ten products each, in float32 where they are formed in it."""
    layer = build(name, **options)
    for channels, positions in [(4, 9), (6, 4)]:
        x, direction = _features(channels, positions), _random(1, channels, positions, seed=1)
        tangent = torch.func.jvp(layer, (x,), (direction,))[1]
        expected = (torch.func.jacrev(layer)(x) * direction).sum((-1, -2, -3))
        eps = torch.finfo(torch.float64 if options.get("dtype") is None else torch.float32).eps
        assert (tangent - expected).norm() <= 100 * eps * expected.norm()


@pytest.mark.parametrize("rule", GRADIENT_RULES)
def test_functions_of_matrices(rule):
    x, direction = _features(4, 9)[0], _random(4, 4, seed=1)
    for function in (lambda p: matrix_sqrt(p, rule), matrix_log):
        tangent = torch.func.jvp(function, (x @ x.mT,), (direction,))[1]
        expected = (torch.func.jacrev(function)(x @ x.mT) * direction).sum((-1, -2))
        assert (tangent - expected).norm() <= 1e-12 * expected.norm()


def test_without_torch_func_and_in_the_features_dtype():
    x, direction = _features(4, 9).float(), _random(1, 4, 9, seed=1).float()
    layer = build_meta_layer("svd_lyapunov")
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, direction))).tangent
    assert tangent.dtype == torch.float32
    torch.testing.assert_close(tangent, torch.func.jvp(layer, (x.double(),), (direction.double(),))[1].float())
    assert torch.autograd.gradcheck(layer, x.double().requires_grad_(), check_forward_ad=True)


@pytest.mark.parametrize("name", ["svd_lyapunov", "log_cholesky"])
def test_without_torch_func_on_several_threads(name):
    """Each of them has its own setting of forward mode."""
    torch.set_num_threads(2)
    layer, x, direction = build_meta_layer(name), _random(4, 4, 9), _random(4, 4, 9, seed=1)
    with forward_ad.dual_level():
        tangent = forward_ad.unpack_dual(layer(forward_ad.make_dual(x, direction))).tangent
    torch.testing.assert_close(tangent, torch.func.jvp(layer, (x,), (direction,))[1], rtol=0, atol=0)


@pytest.mark.parametrize(("name", "options"), TWICE)
def test_hessians_agree_whichever_way_they_are_taken(name, options):
    def loss(x):
        return build(name, **options)(x).square().sum()

    x = _features(3, 5)
    reverse = torch.func.jacrev(torch.func.jacrev(loss))(x)
    for other in (torch.func.hessian, lambda f: torch.func.jacrev(torch.func.jacfwd(f))):
        torch.testing.assert_close(other(loss)(x), reverse, rtol=1e-10, atol=1e-12)


def test_what_has_no_second_derivative_says_so():
    def loss(x):
        return build_meta_layer("svd_pade")(x).square().sum()

    for hessian in (torch.func.hessian, lambda f: torch.func.jacrev(torch.func.jacfwd(f))):
        with pytest.raises(OptionError, match="has no second derivative for its gradient rule"):
            hessian(loss)(_features(3, 5))
    exact = build_meta_layer("svd_lyapunov")
    with pytest.raises(OptionError, match="no forward derivative of its forward derivative: take one of the two in reverse"):
        torch.func.jacfwd(torch.func.jacfwd(exact))(_features(3, 5))
    with pytest.raises(OptionError, match=r"^PoolingSpec\(function=sqrt\(\), .*a third derivative was asked for"):
        torch.func.jacrev(torch.func.hessian(lambda x: exact(x).square().sum()))(_features(2, 3))


@pytest.mark.parametrize("name", ["svd_lyapunov", "svd_pade"])
def test_a_tangent_is_linear_in_its_direction(name):
    """So it can be differentiated by that without a second derivative of the layer."""
    layer, x = build_meta_layer(name), _features(4, 9)
    direction, other = _random(1, 4, 9, seed=1), _random(1, 4, 9, seed=2)

    def tangent(direction):
        return torch.func.jvp(layer, (x,), (direction,))[1]

    value, along = torch.func.jvp(tangent, (direction,), (other,))
    assert torch.equal(value, tangent(direction))
    assert torch.equal(along, tangent(other))
    upstream = _random(*value.shape, seed=3)
    (pulled,) = torch.func.vjp(tangent, direction)[1](upstream)
    assert torch.equal(pulled, torch.func.vjp(layer, x)[1](upstream)[0])

    def of_both(x, direction):
        return torch.func.jvp(layer, (x,), (direction,))[1]

    with pytest.raises(OptionError, match="no forward derivative of its forward derivative"):
        torch.func.jvp(of_both, (x, direction), (other, other))


@pytest.mark.parametrize("name", ["svd_lyapunov", "svd_pade"])
def test_a_gradient_is_linear_in_its_upstream_gradient(name):
    """Likewise."""
    layer, x = build_meta_layer(name), _features(4, 9)
    upstream, other = (_random(*layer(x).shape, seed=seed) for seed in (1, 2))

    def gradient(upstream):
        return torch.func.vjp(layer, x)[1](upstream)[0]

    value, along = torch.func.jvp(gradient, (upstream,), (other,))
    assert torch.equal(value, gradient(upstream))
    assert torch.equal(along, gradient(other))
    direction = _random(1, 4, 9, seed=3)
    if name == "svd_lyapunov":  # torch asks for both gradients of a product
        (pulled,) = torch.func.vjp(gradient, upstream)[1](direction)
        tangent = torch.func.jvp(layer, (x,), (direction,))[1]
        assert (pulled - tangent).norm() <= 1e-12 * tangent.norm()


@pytest.mark.parametrize("name", ["svd_lyapunov", "isqrt_cov"])
def test_forward_mode_of_a_gradient_without_torch_func(name):
    layer, x, direction = build(name, solver="products"), _features(3, 5), _random(1, 3, 5, seed=1)

    def gradient(x):
        (result,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        return result

    with forward_ad.dual_level():
        dual = forward_ad.make_dual(x.clone().requires_grad_(), direction)
        tangent = forward_ad.unpack_dual(gradient(dual)).tangent
    expected = torch.func.jvp(torch.func.grad(lambda x: layer(x).square().sum()), (x,), (direction,))[1]
    assert (tangent - expected).norm() <= 1e-12 * expected.norm()
