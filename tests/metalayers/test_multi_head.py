import pytest
import torch

from gcp_repro.errors import DataError, OptionError, ShapeError
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.metalayers.multi_head import CrossCovariancePooling
from tests.metalayers.inputs import features_of


def test_layout_is_an_option_of_every_layer():
    features = features_of(2, 6, 3, 3, dtype=torch.float64)
    expected = build_meta_layer("svd_lyapunov")(features)
    assert torch.allclose(build_meta_layer("svd_lyapunov", layout="nhwc")(features.permute(0, 2, 3, 1)), expected)
    assert torch.allclose(build_meta_layer("svd_lyapunov", layout="tokens", heads=1)(features.flatten(2).mT), expected)


def test_tokens_and_channels_last_maps_are_never_pooled_over_the_wrong_axis():
    for shape in [(1, 197, 192), (1, 7, 7, 768)]:
        with pytest.raises(ShapeError, match="build the layer with one of the two"):
            build_meta_layer("gap")(torch.zeros(shape))
    assert build_meta_layer("gap", layout="tokens")(torch.zeros(1, 197, 192)).shape == (1, 192)
    assert build_meta_layer("bcnn", layout="nhwc")(torch.zeros(1, 7, 7, 768)).shape == (1, 768 * 769 // 2)


def test_heads_are_the_layer_on_each_group_of_channels():
    features = features_of(2, 12, 4, 4, dtype=torch.float64)
    layer = build_meta_layer("isqrt_cov", heads=3)
    one = build_meta_layer("isqrt_cov")
    apart = torch.cat([one(group) for group in features.chunk(3, dim=1)], dim=1)
    assert torch.allclose(layer(features), apart, rtol=1e-12, atol=0)  # batches of another size round otherwise
    assert apart.shape[1] == layer.output_dim(12) == 3 * 4 * 5 // 2


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((2, 256, 256, 1), {"heads": 4}),
        ((1, 256, 256), {"heads": 4, "layout": "tokens"}),
        ((1, 128, 256), {"heads": 2, "layout": "nchw"}),
        ((1, 64, 256), {"correlation": True, "layout": "nchw"}),
        ((1, 128, 256), {"heads": 2, "correlation": True, "layout": "nchw"}),
    ],
    ids=str,
)
def test_the_layout_is_asked_once(shape, options):
    """What a head, or what pools prepared features, is given has its channels second, however it looks."""
    features, layer = features_of(*shape), build_meta_layer("isqrt_cov", **options)
    torch.testing.assert_close(layer.in_plain_torch(features)(features), layer(features), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("heads", [0, -1, 1.5])
def test_heads_out_of_range_are_refused(heads):
    with pytest.raises(OptionError, match="heads must be a whole number >= 1; got"):
        build_meta_layer("isqrt_cov", heads=heads)


def test_heads_must_divide_the_channels():
    layer = build_meta_layer("isqrt_cov", heads=5)
    with pytest.raises(OptionError, match="heads must divide the channels; got 5 heads for 12 channels"):
        layer(torch.zeros(2, 12, 4, 4))


def noise(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def cross_covariance(features):
    """The definition, for `(B, C, N)`."""
    centered = features - features.mean(-1, keepdim=True)
    half = features.shape[1] // 2
    return torch.einsum("bin,bjn->bij", centered[:, :half], centered[:, half:]) / features.shape[-1]


def test_svpn_after_many_steps_is_the_formula_on_singular_values():
    """The k largest to the power, the rest over the k-th to 1 - a."""
    features = noise(2, 10, 40)
    layer = CrossCovariancePooling(exponent=0.3, num_values=2, num_iterations=2000)
    left, values, right = torch.linalg.svd(cross_covariance(features))
    scaled = values / (values[:, 1:2] ** 0.7 + 1e-5)
    expected = left @ torch.diag_embed(torch.cat([values[:, :2] ** 0.3, scaled[:, 2:]], 1)) @ right
    gap = (values[:, 1:3] / values[:, 0:2]).max() ** (2 * 2000)  # what power iteration leaves
    assert gap < 1e-16
    assert torch.allclose(layer(features), expected.flatten(1), atol=1e-11, rtol=0)


def test_epn_is_normalised_head_by_head():
    features = noise(2, 12, 20)
    pooled = build_meta_layer("cross_covariance", normalization="epn", heads=3)(features).view(2, 3, 4)
    assert torch.allclose(pooled.norm(dim=-1), torch.ones(2, 3, dtype=torch.float64))
    roots = cross_covariance(features[:, :4]).flatten(1)
    roots = roots.sign() * roots.abs().sqrt()
    assert torch.allclose(pooled[:, 0], roots / roots.norm(dim=1, keepdim=True), atol=1e-9)


def test_a_constant_image_has_no_gradient():
    features = torch.ones(1, 4, 5, dtype=torch.float64, requires_grad=True)
    pooled = build_meta_layer("cross_covariance")(features)
    pooled.sum().backward()
    assert not pooled.any()
    assert not features.grad.any()


def test_only_the_same_heads_can_follow():
    layers = [build_meta_layer("isqrt_cov"), build_meta_layer("isqrt_cov", heads=6), build_meta_layer("isqrt_cov", heads=3)]
    exact = build_meta_layer("svd_lyapunov", heads=6)
    assert [exact.can_follow(layer) for layer in layers] == [False, True, False]
    assert not build_meta_layer("svd_lyapunov").can_follow(layers[1])


def test_weights_know_their_heads():
    state = build_meta_layer("isqrt_cov", heads=2).state_dict()
    build_meta_layer("isqrt_cov", heads=2, dtype="float32").load_state_dict(state)
    with pytest.raises(DataError, match=r"the layer that they were trained with, isqrt_cov.*heads=2.*; got isqrt_cov.*heads=4"):
        build_meta_layer("isqrt_cov", heads=4).load_state_dict(state)


def test_weights_know_the_layer_of_their_heads():
    """Also where no option tells them apart."""
    state = build_meta_layer("gap", heads=2).state_dict()
    build_meta_layer("gap", heads=2).load_state_dict(state)
    with pytest.raises(DataError, match=r"the layer that they were trained with, gap\(heads=2\); got bcnn\(heads=2\)"):
        build_meta_layer("bcnn", heads=2).load_state_dict(state)


@pytest.mark.parametrize(
    "wrong",
    [{"exponent": 0.0}, {"num_values": 0}, {"num_iterations": 0}, {"normalization": "sqrt"}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_options_out_of_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(OptionError, match=f"{name} must be .*; got .* for CrossCovariancePooling"):
        build_meta_layer("cross_covariance", **wrong)


def test_a_layer_remembers_what_it_was_built_from():
    layer = build_meta_layer("svd_taylor", degree=7, heads=2)
    assert (layer.name, layer.options) == ("svd_taylor", {"degree": 7, "heads": 2})
