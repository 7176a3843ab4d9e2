"""Every registered layer, by the registry: shapes, dtypes, transforms, errors."""

from __future__ import annotations

import copy
import pickle

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings

from gcp_repro.errors import OptionError, ShapeError, UnknownNameError
from gcp_repro.linalg import SpectralFunction, gradient_rule, spectral_function
from gcp_repro.linalg.functions import sqrt
from gcp_repro.metalayers import META_LAYERS, CovariancePooling, MetaLayer, build_meta_layer, register_meta_layer
from tests.metalayers.inputs import SMALLER, VARIANTS, build, condition_of, features_of, gradient_of
from tests.tolerances import relative_error, rounding

ROOTS = [
    name for name in META_LAYERS if META_LAYERS[name].family in ("svd", "iterative") and name not in ("deep_o2p", "improved_bcnn")
]


@pytest.mark.parametrize(("name", "options"), VARIANTS)
@pytest.mark.parametrize("shape", [(2, 6, 3, 4), (1, 6, 12), (3, 1, 5), (2, 7, 1), (1, 1, 1, 1), (0, 6, 3, 4), (1, 40, 2, 2)])
def test_shapes(name, options, shape):
    layer = build(name, **options)
    output, gradient = gradient_of(layer, features_of(*shape))
    assert output.shape == (shape[0], layer.output_dim(shape[1]))
    assert type(layer.output_dim(shape[1])) is int
    assert gradient.shape == shape
    assert output.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("name", META_LAYERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_dtype_of_the_features_is_kept(name, dtype):
    features = features_of(2, 6, 3, 3).to(dtype)
    output, gradient = gradient_of(build(name), features)
    assert output.dtype == gradient.dtype == dtype
    wide, _ = gradient_of(build(name), features.double())
    assert relative_error(output, wide) <= 5 * torch.finfo(dtype).eps  # 9 roundings of gap's mean, and one to `dtype`, of eps / 2


@pytest.mark.parametrize("name", META_LAYERS)
def test_autocast_does_not_touch_the_spectral_part(name):
    features = features_of(2, 6, 3, 3, dtype=torch.float32)
    for options in [{"dtype": "float32"}, {"dtype": "float64"}] if "dtype" in META_LAYERS[name].defaults else [{}]:
        layer = build(name, **options)
        expected, expected_gradient = gradient_of(layer, features)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output, gradient = gradient_of(layer, features)
        assert torch.equal(output, expected)
        assert torch.equal(gradient, expected_gradient)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_a_batch_is_a_loop_over_its_images(name, options):
    """Also when it is cut into chunks for several threads."""
    features = features_of(9, 6, 3, 3)
    layer = build(name, **options)
    output, gradient = gradient_of(layer, features)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).double()
    tolerance = rounding(9, condition_of(features))
    for i in range(len(features)):
        single = features[i : i + 1].clone().requires_grad_()
        row = layer(single)
        torch.testing.assert_close(row[0].detach(), output[i])
        assert relative_error(torch.autograd.grad(row, single, weights[i : i + 1])[0][0], gradient[i]) < tolerance


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_modes_without_gradients_and_any_number_of_threads(name, options):
    features = features_of(9, 6, 3, 3)
    layer = build(name, **options)
    threads = torch.get_num_threads()
    try:
        outputs = []
        for count in (1, 2):
            torch.set_num_threads(count)
            for mode in (torch.enable_grad, torch.no_grad, torch.inference_mode):
                with mode():
                    outputs.append(layer(features).clone())
    finally:
        torch.set_num_threads(threads)
    for output in outputs[1:]:
        torch.testing.assert_close(output, outputs[0])


@settings(max_examples=20)
@given(
    seed=st.integers(0, 2**20), channels=st.integers(1, 6), positions=st.integers(1, 8), name=st.sampled_from(sorted(META_LAYERS))
)
def test_order_of_positions_does_not_matter(seed, channels, positions, name):
    features = features_of(2, channels, positions, seed=seed)
    order = torch.randperm(positions, generator=torch.Generator().manual_seed(seed))
    layer = build(name)
    tolerance = rounding(8) ** 0.5  # |P^1/2 - (P + E)^1/2| <= |E|^1/2, at any rank
    assert relative_error(layer(features[..., order]), layer(features)) < tolerance


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *[(name, {}) for name in ("mpn_cov", "isqrt_cov", "svd_pade", "svd_newton", "svd_trunc", "svd_lyapunov")],
        ("svd_taylor", {"degree": 300}),
        ("spectral", {"top_n": 2}),
    ],
)
def test_routes_agree_on_full_rank(name, options):
    """Well separated spectrum, more positions than channels: nothing is at the floor, so the two routes are the same function."""
    features = torch.randn(2, 4, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    features = features * torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64)[:, None]
    gram = gradient_of(build(name, route="gram", **options), features)
    dense = gradient_of(build(name, route="dense", **options), features)
    for found, expected in zip(gram, dense, strict=True):
        assert relative_error(found, expected) < rounding(300, condition_of(features))


@pytest.mark.parametrize("name", ["isqrt_cov", "svd_lyapunov"])
def test_routes_agree_whatever_the_rank_where_the_gradient_is_bounded(name):
    features = features_of(3, 12, 2, 3)
    for first, second in zip(
        gradient_of(build(name, route="gram"), features),
        gradient_of(build(name, route="dense"), features),
        strict=True,
    ):
        assert relative_error(first, second) < rounding(12, condition_of(features))


@pytest.mark.parametrize("name", META_LAYERS)
def test_functorch(name):
    layer = build(name, **SMALLER.get(name, {}))
    features = features_of(3, 2, 4, 3)
    torch.testing.assert_close(torch.func.vmap(layer)(features.unsqueeze(1)).squeeze(1), layer(features))
    jacobian = torch.func.jacrev(layer)(features[:1])
    assert jacobian.isfinite().all()
    assert jacobian.shape == (1, layer.output_dim(2), 1, 2, 4, 3)


@pytest.mark.parametrize("name", META_LAYERS)
def test_copies_pickles_and_has_no_weights(name):
    layer = build(name)
    features = features_of(2, 5, 3, 3)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(features), layer(features))
        assert twin.name == name
    assert not list(layer.parameters())
    assert not list(layer.buffers())


def test_spectral_takes_names_callables_and_the_options_of_both():
    features = features_of(2, 5, 3, 3)
    named = build_meta_layer("spectral", forward="newton_schulz", gradient="taylor", num_iterations=3, degree=7)
    assert named.spec.function.options == {"num_iterations": 3}
    assert named.spec.rule.options == {"degree": 7}
    half = SpectralFunction(
        "half root", lambda x: x.sqrt() / 2, lambda x: sqrt().gradient(x)._replace(table=sqrt().gradient(x).table / 2)
    )
    own = build_meta_layer("spectral", forward=half, gradient=gradient_rule("exact"))
    torch.testing.assert_close(2 * own(features), build_meta_layer("svd_lyapunov")(features))


def test_forward_and_gradient_are_independent():
    """The layers of the paper are points of one grid: same value by forward, same gradient table by gradient."""
    features = features_of(2, 5, 4, 4)
    root = build_meta_layer("svd_lyapunov")(features)
    for name in ("svd_pade", "svd_taylor", "svd_newton", "svd_trunc", "svd_power_iteration", "mpn_cov"):
        torch.testing.assert_close(build(name)(features), root)
    newton = gradient_of(build_meta_layer("isqrt_cov", num_iterations=10), features)[1]
    torch.testing.assert_close(gradient_of(build_meta_layer("svd_newton", num_iterations=10), features)[1], newton)


def test_undeflated_power_iteration_gives_nogradient_of():
    """The authors' code for it projects with I - U U^T, which is zero (docs/mathematics.md)."""
    layer = build_meta_layer("svd_power_iteration", deflate=False)
    assert gradient_of(layer, features_of(2, 5, 4, 4))[1].abs().max() == 0


def test_a_base_class_is_not_a_layer():
    with pytest.raises(TypeError, match="abstract"):
        MetaLayer()


def test_layers_of_objects_can_be_pickled():
    features = features_of(2, 5, 3, 3)
    named = build_meta_layer("spectral", forward="newton_schulz", gradient="taylor", num_iterations=3, degree=7)
    layer = CovariancePooling(spectral_function("newton_schulz", num_iterations=3), gradient_rule("taylor", degree=7))
    assert layer.spec == named.spec
    twin = pickle.loads(pickle.dumps(layer))
    assert twin.spec == layer.spec
    assert torch.equal(twin(features), named(features))


def test_an_option_of_both_is_given_to_one():
    with pytest.raises(OptionError, match=r"both have 'num_iterations': say which, as in forward=\{'name': 'newton_schulz'"):
        build_meta_layer("spectral", forward="newton_schulz", gradient="newton_schulz", num_iterations=3)
    with pytest.raises(OptionError, match="both have 'num_iterations'"):
        build_meta_layer("spectral", forward="newton_schulz", gradient="power_iteration", num_iterations=3)
    forward, gradient = ({"name": "newton_schulz", "num_iterations": steps} for steps in (5, 10))
    layer = build_meta_layer("spectral", forward=forward, gradient=gradient)
    features = features_of(2, 5, 3, 3)
    value, slope = gradient_of(layer, features)
    torch.testing.assert_close(value, build_meta_layer("isqrt_cov")(features))
    torch.testing.assert_close(slope, gradient_of(build_meta_layer("svd_newton"), features)[1])
    rest = build_meta_layer("spectral", forward=forward, gradient="newton_schulz", num_iterations=10)
    assert rest.spec == layer.spec  # what the mapping has said is not open any more


def test_which_layers_the_hybrid_protocol_goes_over_to():
    """Those that stand for a function of the same covariance, of the same length."""
    assert [name for name, entry in META_LAYERS.items() if entry.has_hybrid] == [
        "svd_pade", "svd_taylor", "svd_newton", "svd_trunc", "svd_topn", "mpn_cov", "svd_lyapunov", "svd_power_iteration",
        "spectral", "mpa_lya", "mtp_lya", "seb",
    ]  # fmt: skip


class Maximum(MetaLayer):
    """Largest value of each channel."""

    def __init__(self, scale: float = 1.0, offset: int = 0) -> None:
        super().__init__()
        self.scale, self.offset = scale, offset

    def output_dim(self, channels):
        return channels

    def pool(self, features):
        return self.scale * features.amax(-1) + self.offset


def test_a_layer_of_ones_own():
    try:
        entry = register_meta_layer(
            "maximum", Maximum, description="largest value", source="this test", fixed={"offset": 1}, published="Max"
        )
        assert dict(entry.defaults) == {"scale": 1.0}
        layer = build_meta_layer("maximum", scale=2.0)
        assert layer(torch.ones(1, 2, 3)).tolist() == [[3.0, 3.0]]
        assert layer.name == "maximum"
        assert "maximum" not in META_LAYERS.built_in
        with pytest.raises(OptionError, match="maximum has no option 'offset'; it has: scale"):
            build_meta_layer("maximum", offset=3)
        with pytest.raises(OptionError, match="'maximum' is taken"):
            register_meta_layer("maximum", Maximum, description="", source="")
    finally:
        META_LAYERS.remove("maximum")
    with pytest.raises(OptionError, match="the factory of 'identity' returned Identity: derive it from MetaLayer"):
        register_meta_layer("identity", torch.nn.Identity, description="", source="")


@pytest.mark.parametrize("name", [name for name, entry in META_LAYERS.items() if not entry.fixed])
def test_a_class_that_is_a_layer_has_its_defaults(name):
    assert META_LAYERS[name].factory().computes() == build_meta_layer(name).computes()


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("pow_tmlr", {"num_iterations": 1}),
        ("cbp", {"projection_dim": 1, "seed": 0}),
        ("cross_covariance", {"num_values": 1, "num_iterations": 1}),
        ("gap", {"heads": 1}),
        ("spectral", {"top_n": 1}),
    ],
)
def test_the_smallest_values_are_taken_and_one_less_is_not(name, smallest):
    layer = build_meta_layer(name, **smallest)
    assert layer(torch.rand(2, 4, 9)).isfinite().all()
    for option, value in smallest.items():
        with pytest.raises(OptionError, match=rf"{option} must be a .*>= {value}"):
            build_meta_layer(name, **{option: value - 1})


def test_errors():
    with pytest.raises(UnknownNameError, match="no meta-layer 'svd_pad'; nearest: 'svd_pade'"):
        build_meta_layer("svd_pad")
    with pytest.raises(OptionError, match="svd_taylor has no option 'degre'; nearest: 'degree'"):
        build_meta_layer("svd_taylor", degre=3)
    with pytest.raises(OptionError, match="route must be one of auto, gram, dense; got 'gramm'"):
        build_meta_layer("svd_pade", route="gramm")
    with pytest.raises(OptionError, match="dtype must be one of float64, float32, mixed; got 'half'"):
        build_meta_layer("svd_pade", dtype="half")
    with pytest.raises(OptionError, match="num_iterations must be a whole number >= 1; got 0"):
        build_meta_layer("isqrt_cov", num_iterations=0)
    with pytest.raises(OptionError, match="top_n must be a whole number >= 1, or a number > 0 and < 1, or null; got 0"):
        build_meta_layer("svd_topn", top_n=0)
    with pytest.raises(OptionError, match="have no option 'degree': known: dtype, accuracy, route"):
        build_meta_layer("spectral", degree=3)
    with pytest.raises(ShapeError, match=r"\(B, C, H, W\) or \(B, C, N\).*got torch.float32 \(3, 4\)"):
        build_meta_layer("svd_pade")(torch.ones(3, 4))
    with pytest.raises(ShapeError, match=r"must be a torch.Tensor; got ndarray: convert them with torch.as_tensor"):
        build_meta_layer("gap")(torch.ones(1, 3, 4).numpy())
    with pytest.raises(ShapeError, match=r"torch.int64"):
        build_meta_layer("gap")(torch.ones(3, 4, 2, dtype=torch.long))


@pytest.mark.parametrize("name", ["isqrt_cov", "svd_lyapunov"])
@pytest.mark.parametrize("shape", [(2, 12, 3, 3), (2, 4, 5, 5), (2, 3, 1, 1)])
def test_products_compute_the_same_as_the_decomposition(name, shape):
    features = torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    for route in ("gram", "dense") if name == "isqrt_cov" else ("gram",):
        expected = gradient_of(build(name, route=route), features)
        found = gradient_of(build(name, route=route, solver="products"), features)
        for first, second in zip(found, expected, strict=True):
            assert relative_error(first, second) < rounding(25, condition_of(features))


def test_products_are_refused_where_a_decomposition_is_needed():
    with pytest.raises(OptionError, match="solver='products' computes isqrt_cov, and on route gram"):
        build_meta_layer("svd_taylor", solver="products")
