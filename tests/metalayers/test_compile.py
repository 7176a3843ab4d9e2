"""Layers in graphs: compiled and exported whole, with batches of any size, and refused where a graph would be wrong."""

from __future__ import annotations

import io
import subprocess
import sys

import pytest
import torch
from torch import nn

from gcp_repro.errors import NonFiniteError, ShapeError
from gcp_repro.linalg import SpectralFunction, gradient_rule, matrix_log, matrix_sqrt
from gcp_repro.linalg.functions import sqrt
from gcp_repro.metalayers import build_meta_layer
from tests.metalayers.inputs import PRECISE, VARIANTS, build, features_of, gradient_of
from tests.torch_versions import needs_torch_2_11


@pytest.fixture(autouse=True)
def _forget_graphs():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def _compile(function, **options):
    return torch.compile(function, backend="aot_eager", fullgraph=True, **options)


@needs_torch_2_11
@pytest.mark.parametrize(("name", "options"), [*VARIANTS, *PRECISE])
def test_one_graph_for_batches_of_any_size(name, options):
    layer = build(name, **options)
    compiled = _compile(layer, dynamic=True)
    graphs = []
    for batch in (3, 5):
        features = features_of(batch, 4, 9)
        expected, found = (gradient_of(function, features) for function in (layer, compiled))
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[1]
    with torch.no_grad():
        torch.testing.assert_close(compiled(features), expected[0], rtol=1e-12, atol=1e-12)


def test_one_graph_for_any_number_of_channels():
    layer = build("svd_lyapunov")
    compiled = _compile(layer, dynamic=True)
    graphs = []
    for channels in (4, 6):
        features = features_of(2, channels, 9)
        torch.testing.assert_close(compiled(features), layer(features), rtol=1e-12, atol=1e-12)
        graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] == graphs[1]


def test_a_network_in_training():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), build_meta_layer("svd_pade", on_nonfinite="propagate"), nn.Linear(21, 4))
    images = torch.randn(2, 3, 6, 6)
    expected = torch.autograd.grad(net(images).square().sum(), list(net.parameters()))
    found = torch.autograd.grad(_compile(net)(images).square().sum(), list(net.parameters()))
    for first, second in zip(found, expected, strict=True):
        torch.testing.assert_close(first, second)


@needs_torch_2_11
@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    ("name", "options"),
    [("isqrt_cov", {}), ("svd_trunc", {"route": "dense"}), ("g2denet", {}), ("cbp", {}), ("svd_pade", {"dtype": "mixed"})],
)
def test_exported_saved_and_loaded(name, options, strict):
    layer, features = build(name, **options), features_of(7, 4, 3, 3)
    program = torch.export.export(layer, (features[:2],), dynamic_shapes=({0: torch.export.Dim("batch")},), strict=strict)
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    torch.testing.assert_close(torch.export.load(file).module()(features), layer(features), rtol=1e-12, atol=1e-12)


@needs_torch_2_11
@pytest.mark.parametrize("name", ["svd_pade", "bcnn"])
def test_exported_for_maps_of_any_size(name):
    """The example settles where the channels are: no size is refused later, nor asked of the exporter."""
    layer, sizes = build(name), {axis: torch.export.Dim(f"size{axis}", min=3, max=128) for axis in (0, 2, 3)}
    program = torch.export.export(layer, (features_of(4, 4, 4, 5),), dynamic_shapes=(sizes,)).module()
    for shape in ((3, 4, 3, 7), (5, 4, 8, 8), (3, 4, 4, 16)):
        features = features_of(*shape)
        torch.testing.assert_close(program(features), build(name, layout="nchw")(features), rtol=1e-12, atol=1e-12)
    with pytest.raises(ShapeError, match="must say where their channels are"):
        torch.export.export(layer, (features_of(4, 4, 4, 96),), dynamic_shapes=(sizes,))


def test_functions_of_matrices():
    matrices = features_of(3, 4, 9) @ features_of(3, 4, 9).mT

    def function(p, own):
        return (
            matrix_sqrt(p)
            + matrix_sqrt(p, "taylor", degree=7)
            + matrix_sqrt(p, "topn")
            + matrix_sqrt(p, own)
            + matrix_log(p, 0.1)
        )

    for rule in (gradient_rule("trunc", max_gradient=2.0), {"name": "trunc", "max_gradient": 2.0}):
        inputs = [matrices.clone().requires_grad_() for _ in range(2)]
        outputs = function(inputs[0], rule), _compile(function)(inputs[1], rule)
        torch.testing.assert_close(*outputs)
        torch.testing.assert_close(*(torch.autograd.grad(o.sum(), x)[0] for o, x in zip(outputs, inputs, strict=True)))


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own look
@pytest.mark.parametrize("name", ["svd_pade", "epn"])
def test_a_backward_that_is_compiled(name):
    layer, inputs = build(name), [features_of(2, 4, 9).requires_grad_() for _ in range(2)]
    layer(inputs[0]).square().sum().backward()
    with torch._dynamo.compiled_autograd._enable(torch.compile(backend="aot_eager")):
        layer(inputs[1]).square().sum().backward()
    torch.testing.assert_close(inputs[1].grad, inputs[0].grad)


def test_functions_that_have_no_name():
    own = SpectralFunction("twice", lambda eigenvalues: 2 * eigenvalues.sqrt(), lambda eigenvalues: sqrt().gradient(eigenvalues))
    layer, features = build_meta_layer("spectral", forward=own, gradient="svd"), features_of(2, 4, 3, 3)
    torch.testing.assert_close(_compile(layer)(features), 2 * build_meta_layer("mpn_cov")(features))


def test_errors_in_a_graph_are_those_of_this_package():
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        _compile(build_meta_layer("svd_pade"))(torch.full((2, 4, 9), torch.nan))


@needs_torch_2_11
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")  # torch's own forward mode uses it
@pytest.mark.parametrize("name", ["svd_pade", "svd_lyapunov"])
def test_transforms_inside_a_graph_are_refused_or_right_but_never_silently_zero(name):
    """A forward derivative through an operator of torch that autograd is registered for is zero, without a word."""
    layer, x, direction = build(name), features_of(2, 4, 9), features_of(2, 4, 9, seed=1)

    def jvp(x, direction):
        return torch.func.jvp(layer, (x,), (direction,))[1]

    def gradient(x):
        return torch.func.grad(lambda x: layer(x).square().sum())(x)

    def each(x):
        return torch.func.vmap(lambda x: layer(x[None])[0])(x)

    for function, inputs in ((jvp, (x, direction)), (gradient, (x,))):
        with pytest.raises(torch._dynamo.exc.Unsupported, match=r"transforms other than vmap do not go through a layer"):
            _compile(function)(*inputs)
        torch._dynamo.reset()
        in_pieces = torch.compile(function, backend="aot_eager")
        torch.testing.assert_close(in_pieces(*inputs), function(*inputs))
    torch.testing.assert_close(_compile(each)(x), layer(x))


def test_importing_layers_does_not_import_the_compiler():
    """It takes seconds."""
    code = "import sys, gcp_repro.metalayers; print('torch._dynamo' in sys.modules, 'torch.onnx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.slow
def test_code_that_is_generated_gives_the_same():
    layer, features = build_meta_layer("svd_pade"), features_of(3, 4, 9)
    expected = gradient_of(layer, features)
    torch.testing.assert_close(gradient_of(torch.compile(layer, fullgraph=True), features), expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["svd_pade", "rank1_update"])
def test_a_package_of_generated_code_gives_the_same(name, tmp_path):
    """float32 features, and an operator whose result is float64 on its way."""
    layer, features = build(name), features_of(4, 4, 9, dtype=torch.float32)
    program = torch.export.export(layer, (features,), dynamic_shapes=({0: torch.export.Dim("batch")},))
    path = torch._inductor.aoti_compile_and_package(program, package_path=str(tmp_path / "layer.pt2"))
    torch.testing.assert_close(torch._inductor.aoti_load_package(path)(features[:3]), layer(features[:3]))
