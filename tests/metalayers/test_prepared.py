"""Preparations of features are options of every layer, on every route, alone and in heads."""

import pytest
import torch

from gcp_repro.errors import DataError, NonFiniteError, OptionError
from gcp_repro.export import to_onnx
from gcp_repro.linalg import covariance, matrix_sqrt, upper_triangle
from gcp_repro.linalg.estimators import oas, shrink, standardise
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from tests.metalayers.inputs import VARIANTS, features_of, gradient_of
from tests.tolerances import relative_error, rounding

ESTIMATES = {"correlation": True, "shrinkage": "oas"}


@pytest.mark.parametrize(("name", "options"), [variant for variant in VARIANTS if variant.values[0] != "gap"])
def test_every_layer_pools_what_is_prepared(name, options):
    features = features_of(2, 5, 3, 3)
    prepared = shrink(standardise(features.flatten(2)), oas)
    expected = build_meta_layer(name, **options).eval()(prepared)
    output, gradient = gradient_of(build_meta_layer(name, **options, **ESTIMATES).eval(), features)
    torch.testing.assert_close(output, expected)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("options", [{"shrinkage": 0.2}, {"shrinkage": "ledoit_wolf"}, ESTIMATES])
@pytest.mark.parametrize("shape", [(2, 4, 9), (2, 5, 3)])
def test_the_root_of_the_estimate_and_its_gradient(options, shape):
    features = 1 + torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    layer = build_meta_layer("svd_lyapunov", **options)
    estimate = covariance(layer.prepare(features))
    accuracy = rounding(20, torch.linalg.cond(estimate).max().item())
    assert relative_error(layer(features), upper_triangle(matrix_sqrt(estimate))) < accuracy
    assert torch.autograd.gradcheck(layer, features.requires_grad_())


def test_heads_are_prepared_apart():
    features = features_of(2, 6, 3, 3)
    layer = build_meta_layer("isqrt_cov", heads=2, shrinkage="ledoit_wolf")
    one = build_meta_layer("isqrt_cov", shrinkage="ledoit_wolf")
    torch.testing.assert_close(layer(features), torch.cat([one(part) for part in features.chunk(2, 1)], 1))


def test_the_dtype_of_the_features_is_kept_and_autocast_left_out():
    features = features_of(2, 6, 3, 3).half()
    layer = build_meta_layer("svd_lyapunov", **ESTIMATES)
    expected = layer(features.double())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, gradient = gradient_of(layer, features)
    assert output.dtype == gradient.dtype == torch.float16
    assert relative_error(output, expected) <= torch.finfo(torch.float16).eps


def test_average_pooling_has_no_covariance_to_prepare():
    with pytest.raises(OptionError, match="need a layer that pools covariances; got gap: leave them out"):
        build_meta_layer("gap", shrinkage=0.1)
    assert build_meta_layer("gap", dropout=0.1).output_dim(5) == 5


@pytest.mark.parametrize("shrinkage", [0, 1, 1.5, "lw"])
def test_values_out_of_range_are_refused(shrinkage):
    with pytest.raises(OptionError, match=r"shrinkage must be one of none, ledoit_wolf, oas, or a number > 0 and < 1; got"):
        build_meta_layer("isqrt_cov", shrinkage=shrinkage)


def test_non_finite_features_meet_the_layers_own_rule():
    features = features_of(3, 5, 3, 3)
    features[1, 2, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError):
        build_meta_layer("svd_lyapunov", **ESTIMATES)(features)
    output = build_meta_layer("svd_lyapunov", on_nonfinite="propagate", **ESTIMATES)(features)
    assert output.isnan().all(1).tolist() == [False, True, False]


def test_weights_know_the_estimate_but_not_the_dropout():
    state = build_meta_layer("isqrt_cov", shrinkage=0.1).state_dict()
    build_meta_layer("isqrt_cov", shrinkage=0.1, dropout=0.5).load_state_dict(state)
    with pytest.raises(DataError, match=r"trained with, isqrt_cov\(.*shrinkage=0.1.*; got isqrt_cov\("):
        build_meta_layer("isqrt_cov", shrinkage=0.2).load_state_dict(state)
    dropped = build_meta_layer("isqrt_cov", dropout=0.5)
    assert dropped.can_follow(build_meta_layer("svd_lyapunov"))
    assert not build_meta_layer("isqrt_cov", correlation=True).can_follow(dropped)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_an_onnx_file_prepares_too(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    features = features_of(2, 4, 3, 3)
    layer = build_meta_layer("isqrt_cov", layout="nchw", **ESTIMATES)
    path = to_onnx(layer, tmp_path / "layer.onnx", features)
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: features.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), layer(features), rtol=1e-9, atol=1e-9)


def test_options_of_every_layer():
    for name in META_LAYERS:
        assert build_meta_layer(name, dropout="none", correlation=False, shrinkage="none").name == name
