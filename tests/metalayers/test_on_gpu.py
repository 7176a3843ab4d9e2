"""Layers on a real GPU: values, derivatives, graphs, precisions, streams. Without one they skip; `test_fake_cuda.py` is left."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.func import grad, jacrev, jvp, vmap
from torch.utils.checkpoint import checkpoint

from gcp_repro.errors import NonFiniteError, OptionError
from gcp_repro.linalg import matrix_inv_sqrt, matrix_log, matrix_sqrt
from gcp_repro.linalg.solvers import active_solvers
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from tests.metalayers.inputs import PRECISE, VARIANTS, build, condition_of, features_of, gradient_of
from tests.metalayers.test_fake_cuda import SOLVERS
from tests.tolerances import relative_error, rounding

DEVICE = "cuda"
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

KINDS = [
    ("svd_lyapunov", {}), ("svd_pade", {}), ("isqrt_cov", {}), ("svd_lyapunov", {"solver": "products"}),
    ("svd_pade", {"solver": "host"}), ("svd_pade", {"dtype": "mixed"}), ("g2denet", {}), ("bcnn", {}), ("cbp", {}),
]  # fmt: skip
"""One layer for each way of computing."""


def on_gpu(layer, features, seed=1):
    """`gradient_of` there, brought back."""
    moved = features.to(DEVICE, copy=True).requires_grad_()
    output = copy.deepcopy(layer).to(DEVICE)(moved)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed)).to(output)
    (gradient,) = torch.autograd.grad(output, moved, weights)
    assert (output.device.type, gradient.device.type) == (DEVICE, DEVICE)
    return output.detach().cpu(), gradient.cpu()


def tolerance_of(features, options):
    dtype = torch.float32 if options.get("dtype") in ("float32", "mixed") else torch.float64
    return rounding(max(features.shape[1:]), condition_of(features), dtype)


@pytest.mark.parametrize("shape", [(3, 12, 4, 4), (3, 12, 2, 3), (0, 12, 4, 4)], ids=["channels", "positions", "none"])
@pytest.mark.parametrize(("name", "options"), [*VARIANTS, *PRECISE, *SOLVERS])
def test_as_on_a_cpu(name, options, shape):
    if options.get("route") == "dense" and shape[2:] == (2, 3) and name not in ("svd_lyapunov", "isqrt_cov"):
        pytest.skip("the gradient of the null space's noise is that of the machine")
    features = features_of(*shape)
    layer = build(name, **options)
    for found, expected in zip(on_gpu(layer, features), gradient_of(layer, features), strict=True):
        assert found.shape == expected.shape
        if found.numel():
            assert relative_error(found, expected) < tolerance_of(features, options)


@pytest.mark.parametrize("options", [{"route": "dense"}, {"route": "dense", "solver": "host"}, {"route": "gram"}])
@pytest.mark.parametrize("positions", [(7, 7), (3, 4)])
def test_matrices_of_more_rows_than_are_always_decomposed_together(options, positions):
    features = features_of(3, 40, *positions)
    layer = build("svd_lyapunov", **options)
    for found, expected in zip(on_gpu(layer, features), gradient_of(layer, features), strict=True):
        assert relative_error(found, expected) < tolerance_of(features, options)
    covariance = features.flatten(2) @ features.flatten(2).mT
    found = matrix_sqrt(covariance.to(DEVICE))
    assert found.device.type == DEVICE
    assert relative_error(found.cpu(), matrix_sqrt(covariance)) < rounding(40, condition_of(features), torch.float64)


@pytest.mark.parametrize(("name", "options"), KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtypes_of_features_and_their_layout_in_memory(name, options, dtype):
    features = features_of(4, 16, 5, 5).to(dtype)
    layer = build(name, **options)
    output, gradient = on_gpu(layer, features)
    assert (output.dtype, gradient.dtype) == (dtype, dtype)
    expected = gradient_of(layer, features)
    spacing = torch.finfo(dtype).eps
    for found, reference in zip((output, gradient), expected, strict=True):
        assert relative_error(found, reference) < 5 * spacing + tolerance_of(features, options)
    last = features.to(memory_format=torch.channels_last)
    for found, reference in zip(on_gpu(layer, last), (output, gradient), strict=True):
        assert relative_error(found, reference) < 5 * spacing


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_a_pass_repeats_bit_for_bit_and_keeps_no_memory(name, options):
    layer, features = build(name, **options).to(DEVICE), features_of(32, 24, 6, 6, dtype=torch.float32)
    for _ in range(2):  # tables of indices are made once, and the workspaces of libraries
        on_gpu(layer, features)
    first, before = on_gpu(layer, features), torch.cuda.memory_allocated()
    second, after = on_gpu(layer, features), torch.cuda.memory_allocated()
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert after == before


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_on_another_stream_and_under_a_checkpoint(name, options):
    layer, features = build(name, **options).to(DEVICE), features_of(16, 24, 6, 6).to(DEVICE)
    expected = layer(features)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        found = layer(features)
    stream.synchronize()
    torch.testing.assert_close(found, expected, rtol=0, atol=0)
    moved = features.clone().requires_grad_()
    (plain,) = torch.autograd.grad(layer(moved).sum(), moved)
    (again,) = torch.autograd.grad(checkpoint(layer, moved, use_reentrant=False).sum(), moved)
    torch.testing.assert_close(again, plain, rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch's own, for forward mode
@pytest.mark.parametrize(("name", "options"), KINDS)
def test_transforms(name, options):
    """Forward mode as reverse mode, a gradient for each image as that of the batch, second derivatives as on the CPU."""
    layer = build(name, **options).to(DEVICE)
    features, direction = features_of(2, 4, 2, 4).to(DEVICE), features_of(2, 4, 2, 4, seed=3).to(DEVICE)
    tolerance = tolerance_of(features.cpu(), options)
    _, along = jvp(layer, (features,), (direction,))
    by_rows = torch.einsum("ijabcd,abcd->ij", jacrev(layer)(features), direction)
    assert relative_error(along, by_rows) < tolerance
    each = vmap(grad(lambda image: layer(image.unsqueeze(0)).sum()))(features)
    assert relative_error(each, grad(lambda batch: layer(batch).sum())(features)) < tolerance
    if name == "svd_lyapunov":
        second = grad(lambda batch: grad(lambda inner: layer(inner).square().sum())(batch).square().sum())
        host = copy.deepcopy(layer).cpu()
        on_host = grad(lambda batch: grad(lambda inner: host(inner).square().sum())(batch).square().sum())
        assert relative_error(second(features).cpu(), on_host(features.cpu())) < condition_of(features.cpu()) * tolerance


@pytest.mark.filterwarnings("ignore:.torch.jit.script", "ignore:TensorFloat32", "ignore:The CUDA Graph is empty")
@pytest.mark.parametrize("mode", ["default", "reduce-overhead"])
@pytest.mark.parametrize("name", ["svd_pade", "isqrt_cov"])
def test_compiled_in_a_network_with_and_without_graphs_of_kernels(name, mode):
    """CUDA graphs cannot record a decomposition: the compiler has to leave the operator out of them."""
    torch._dynamo.reset()
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), build_meta_layer(name), nn.Linear(21, 4)).to(DEVICE)
    compiled = torch.compile(net, mode=mode)
    for seed in range(4):  # graphs are recorded from the second call on
        images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(seed)).to(DEVICE)
        torch.compiler.cudagraph_mark_step_begin()
        found = [gradient.clone() for gradient in torch.autograd.grad(compiled(images).square().sum(), list(net.parameters()))]
        expected = torch.autograd.grad(net(images).square().sum(), list(net.parameters()))
        for first, second in zip(found, expected, strict=True):
            assert relative_error(first, second) < 1e-3  # cuDNN's convolutions may be in another order, of float32
    torch._dynamo.reset()


@pytest.mark.parametrize("name", ["svd_pade", "isqrt_cov", "bcnn"])
def test_a_gradient_scaler_sees_what_overflows(name):
    layer = build_meta_layer(name).to(DEVICE)
    weight = torch.ones((), device=DEVICE, requires_grad=True)
    scaler, optimizer = torch.amp.GradScaler(DEVICE, init_scale=2.0**16), torch.optim.SGD([weight], 0.1)
    with torch.autocast(DEVICE, torch.float16):
        features = (features_of(2, 6, 4, 4, dtype=torch.float32).to(DEVICE) * weight).half()
        loss = layer(features).float().sum() * 1e4
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert weight.item() == 1  # the step was left out
    assert scaler.get_scale() == 2.0**15


@pytest.mark.parametrize(("name", "options"), KINDS)
def test_features_that_are_not_finite_or_all_alike(name, options):
    features = features_of(3, 6, 4, 4)
    features[1] = 0
    features[2] = features[2, :, :1, :1]
    output, gradient = on_gpu(build(name, **options), features)
    assert output.isfinite().all()
    assert gradient.isfinite().all()
    features[1, 2, 1, 1] = torch.nan
    if META_LAYERS[name].decomposes:
        with pytest.raises(NonFiniteError, match="the features hold NaN or infinity"):
            build(name, **options).to(DEVICE)(features.to(DEVICE))
        assert on_gpu(build(name, **options, on_nonfinite="propagate"), features)[0][1].isnan().all()


def test_a_spectrum_of_any_kind_is_decomposed_on_the_device_as_on_a_cpu():
    """cuSOLVER's gesvda, of whose results eigenvalues and right vectors are taken; the left ones can be NaN."""
    features = features_of(5, 9, 3, 3)
    features[1, 4:] = 0  # of low rank
    features[2] = torch.eye(9).reshape(9, 3, 3)  # all eigenvalues alike
    features[3, 1:] = features[3, :1]  # of rank 1
    features[4] *= torch.logspace(0, -5, 9)[:, None, None]
    layer = build("svd_lyapunov", solver="device")
    for part in (features, features[:, :, :, :2], features[:, :5]):
        output, gradient = on_gpu(layer, part)
        expected = gradient_of(layer, part)
        for i in range(len(part)):
            tolerance = rounding(9, min(condition_of(part[i : i + 1]), 1e10))
            assert relative_error(output[i], expected[0][i]) < tolerance
            assert relative_error(gradient[i], expected[1][i]) < tolerance


def test_an_ill_conditioned_image_in_the_batch():
    """Newton-Schulz iterations do not converge there: the batch is decomposed, and its values are those of the decomposition."""
    features = features_of(3, 8, 5, 5)
    features[1] *= torch.logspace(0, -7, 8)[:, None, None]
    expected = gradient_of(build("svd_lyapunov"), features)
    for options in ({}, {"solver": "products"}, {"solver": "host"}, {"accuracy": "high"}):
        output, gradient = on_gpu(build("svd_lyapunov", **options), features)
        assert relative_error(output, expected[0]) < rounding(25, 1e7)
        assert relative_error(gradient[::2], expected[1][::2]) < rounding(25, condition_of(features[::2]))
        assert gradient.isfinite().all()


@pytest.mark.parametrize("function", [matrix_sqrt, matrix_inv_sqrt, matrix_log])
def test_functions_of_matrices(function):
    factor = features_of(3, 7, 12)
    matrix = factor @ factor.mT
    expected = gradient_of(function, matrix)
    moved = matrix.to(DEVICE, copy=True).requires_grad_()
    output = function(moved)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output)
    (gradient,) = torch.autograd.grad(output, moved, weights)
    condition = torch.linalg.cond(matrix).max().item()
    assert relative_error(output.detach().cpu(), expected[0]) < rounding(12, condition)
    assert relative_error(gradient.cpu(), expected[1]) < rounding(12, condition**2)


def test_an_exported_layer_and_the_choice_of_a_solver():
    layer, features = build("svd_pade").to(DEVICE), features_of(4, 8, 3, 3).to(DEVICE)
    program = torch.export.export(layer, (features,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    more = features_of(7, 8, 3, 3, seed=2).to(DEVICE)
    torch.testing.assert_close(program.module()(more), layer(more), rtol=1e-12, atol=1e-12)
    build("isqrt_cov").to(DEVICE)(features)
    assert "products" in active_solvers().taken


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="needs torch 2.9")
def test_products_in_float32_are_not_rounded_to_tf32():
    """As Lightning proposes to allow; it has three digits."""
    features, before = features_of(8, 64, 9, 9), torch.get_float32_matmul_precision()
    expected = gradient_of(build("svd_lyapunov"), features)
    torch.set_float32_matmul_precision("high")
    try:
        for options in ({"dtype": "mixed"}, {"dtype": "float32"}):
            for found, reference in zip(on_gpu(build("svd_lyapunov", **options), features), expected, strict=True):
                assert relative_error(found, reference) < tolerance_of(features, options)
        assert torch.backends.cuda.matmul.fp32_precision == "tf32"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.filterwarnings("ignore:The CUDA Graph is empty")
@pytest.mark.parametrize("name", META_LAYERS)
def test_a_cuda_graph_records_a_layer_or_the_layer_says_why_not(name):
    layer, features = build(name).to(DEVICE), features_of(4, 8, 4, 4, dtype=torch.float32).to(DEVICE)
    expected, graph = layer(features), torch.cuda.CUDAGraph()
    if META_LAYERS[name].family in ("svd", "iterative") or name in ("spectral", "log_cholesky"):
        with pytest.raises(OptionError, match="leave the layer out of the graph"), torch.cuda.graph(graph):
            layer(features)
    else:
        with torch.cuda.graph(graph):
            output = layer(features)
        graph.replay()
        torch.testing.assert_close(output, expected, rtol=0, atol=0)
    assert torch.equal(layer(features), expected)
