"""The arithmetic of the public code: the same bits as its steps written out one by one."""

import pytest
import torch

from gcp_repro.errors import OptionError
from gcp_repro.linalg.authors import CODE_BASES, FAST_MPN_COV
from gcp_repro.metalayers import META_LAYERS, build_meta_layer


def published(**options):
    return build_meta_layer("spectral", route="dense", float32_centering=True, **options)


def features(*shape):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 3


def covariances(x, dtype):
    """`X I_bar X^T` with the centring matrix formed in float32."""
    size = x.shape[-1]
    centering = torch.eye(size) / size - torch.ones(size, size) / size**2
    return x.to(dtype).bmm(centering.to(dtype).expand(len(x), -1, -1)).bmm(x.to(dtype).transpose(1, 2))


def triangle(matrix):
    rows, columns = torch.triu_indices(*matrix.shape[-2:])
    return matrix[:, rows, columns].float()


def newton_schulz(p, steps):
    """Eqs. 7 to 9 with every matrix formed; the trace is that of `P * 3 I`, divided by 3."""
    three = 3 * torch.eye(p.shape[-1], dtype=p.dtype)
    trace = (1 / 3) * (p * three).sum(1).sum(1)[:, None, None]
    y, z = p / trace, None
    for _ in range(steps):
        step = 0.5 * (three - (y if z is None else z.bmm(y)))
        y, z = y.bmm(step), step if z is None else step.bmm(z)
    return y * trace.sqrt()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("steps", [1, 2, 5])
def test_newton_schulz_gives_the_same_bits(dtype, steps):
    x = features(3, 64, 49)
    pooled = published(forward="newton_schulz", gradient="exact", dtype=dtype, num_iterations=steps)(x)
    assert torch.equal(pooled, triangle(newton_schulz(covariances(x, getattr(torch, dtype)), steps)))


@pytest.mark.parametrize("code_base", CODE_BASES)
def test_the_options_of_a_code_base_give_its_bits(code_base):
    x, dtype = features(3, 64, 49), torch.float32 if code_base == FAST_MPN_COV else torch.float64
    pooled = build_meta_layer("isqrt_cov", **CODE_BASES[code_base])(x)
    assert torch.equal(pooled, triangle(newton_schulz(covariances(x, dtype), 5)))


@pytest.mark.parametrize("gradient", ["svd", "pade", "newton_schulz"])
@pytest.mark.parametrize("top_n", [None, 20])
def test_svd_gives_the_same_bits(gradient, top_n):
    x = features(3, 64, 49)
    _, values, vh = torch.linalg.svd(covariances(x, torch.float64))
    values[:, top_n or 64 :] = 0
    values = values.clamp(min=torch.finfo(torch.float64).eps)
    pooled = published(gradient=gradient, top_n=top_n)(x)
    assert torch.equal(pooled, triangle((vh.mT * values.sqrt()[:, None]) @ vh))


@pytest.mark.parametrize("name", [name for name, row in META_LAYERS.items() if row.peers and "float32_centering" in row.defaults])
def test_named_layers_take_the_same_arithmetic(name):
    x = features(3, 8, 5)
    parts = {key: value for key, value in META_LAYERS[name].fixed.items() if key in ("forward", "gradient")}
    own = {key: value for key, value in META_LAYERS[name].defaults.items() if key not in META_LAYERS["svd_lyapunov"].defaults}
    pooled = build_meta_layer(name, route="dense", float32_centering=True)(x)
    assert torch.equal(pooled, published(**parts, **{key: value for key, value in own.items() if key != "float32_centering"})(x))
    assert not torch.equal(pooled, build_meta_layer(name, route="dense")(x))


def test_newton_schulz_has_its_own_gradient():
    x = features(2, 4, 9).double().requires_grad_()
    assert torch.autograd.gradcheck(published(forward="newton_schulz", num_iterations=3), x)


@pytest.mark.parametrize("gradient", ["svd", "newton_schulz"])
def test_svd_has_the_gradient_of_its_value_where_the_covariance_has_full_rank(gradient):
    """Up to the rounding of the centring matrix, which is not quite symmetric, and to 20 steps of Newton-Schulz."""
    x = features(2, 4, 9).double().requires_grad_()
    options = {"num_iterations": 20} if gradient == "newton_schulz" else {}
    assert torch.autograd.gradcheck(published(gradient=gradient, **options), x)


def test_a_constant_map_leaves_no_nan():
    """The public code divides 0 by 0."""
    assert published(forward="newton_schulz")(torch.zeros(1, 4, 9)).abs().max() == 0


def test_layers_that_the_public_code_lacks_are_refused():
    for options in ({"gradient": "lyapunov"}, {"route": "gram", "gradient": "pade"}):
        with pytest.raises(
            OptionError, match=r"float32_centering is the arithmetic of the public code: .* leave float32_centering"
        ):
            build_meta_layer("spectral", **{"route": "dense", "float32_centering": True, **options})
    with pytest.raises(OptionError, match=r"got solver='host' for .*newton_schulz.*: use solver='products'"):
        published(forward="newton_schulz", solver="host")
