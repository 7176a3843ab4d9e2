"""The operators as torch checks them: schema, derivatives, shapes without data, and tracing with sizes that change."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from gcp_repro.errors import NonFiniteError, OptionError
from gcp_repro.linalg.machinery.ops import OPS
from gcp_repro.metalayers import build_meta_layer
from tests.torch_versions import needs_torch_2_11

RECIPES = {
    "gram": build_meta_layer("svd_lyapunov").spec.text,
    "dense": build_meta_layer("svd_pade", route="dense").spec.text,
    "products": build_meta_layer("isqrt_cov", solver="products").spec.text,
    "root by products": build_meta_layer("svd_lyapunov", solver="products").spec.text,
    "matrices": "MatrixFunction(function=sqrt(), rule=exact())",
    "mixed": build_meta_layer("svd_pade", dtype="mixed", accuracy="high").spec.text,
}
TWICE = ("gram", "products", "root by products", "matrices")


def _random(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def _arguments(name):
    """Input, upstream gradient, direction, and what the forward keeps."""
    x = _random(2, 3, 5)
    x = x @ x.mT if name == "matrices" else x
    output, *saved = OPS.compute(x, RECIPES[name])
    return x, _random(*output.shape, seed=1), _random(*x.shape, seed=2), saved


@pytest.mark.skipif(not hasattr(torch.Tag, "cudagraph_unsafe"), reason="this torch has no such tag")
@pytest.mark.parametrize("name", ["apply", "compute", "backward", "tangent", "double_backward"])
def test_compilers_are_told_that_cuda_graphs_cannot_hold_them(name):
    assert torch.Tag.cudagraph_unsafe in getattr(OPS, name).default.tags


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # torch's own check looks
@pytest.mark.parametrize("name", RECIPES)
def test_operators_pass_the_checks_of_torch(name):
    recipe = RECIPES[name]
    x, upstream, direction, saved = _arguments(name)
    torch.library.opcheck(OPS.apply.default, (x.clone().requires_grad_(), recipe))
    torch.library.opcheck(OPS.apply.default, (x.float().requires_grad_(), recipe, "float64"))
    torch.library.opcheck(OPS.compute.default, (x, recipe))
    torch.library.opcheck(OPS.compute.default, (x.bfloat16(), recipe, "float32"))
    torch.library.opcheck(OPS.backward.default, (upstream, recipe, x, saved))
    torch.library.opcheck(OPS.tangent.default, (direction, recipe, x, saved))
    if name in TWICE:
        torch.library.opcheck(OPS.double_backward.default, (direction, recipe, upstream, x, saved))


@pytest.mark.parametrize("name", RECIPES)
def test_without_data_they_say_shapes_dtypes_and_layouts_of_float32_features(name):
    x, upstream, direction, _ = (part.float() if isinstance(part, torch.Tensor) else part for part in _arguments(name))
    x = x.mT.contiguous().mT
    saved = OPS.compute(x, RECIPES[name])[1:]
    fake = FakeTensorMode()
    for op, arguments in (
        *[(op, (x, RECIPES[name], *dtype)) for op in (OPS.apply, OPS.compute) for dtype in ((), ("float64",))],
        (OPS.backward, (upstream, RECIPES[name], x, saved)),
        (OPS.tangent, (direction, RECIPES[name], x, saved)),
        *([(OPS.double_backward, (direction, RECIPES[name], upstream, x, saved))] if name in TWICE else []),
    ):
        real = op(*arguments)
        with fake, torch.inference_mode():  # where apply is not made of the others
            said = op(*torch.utils._pytree.tree_map_only(torch.Tensor, fake.from_tensor, arguments))
        for found, expected in zip(*([part] if isinstance(part, torch.Tensor) else part for part in (said, real)), strict=True):
            assert (found.shape, found.dtype, found.stride()) == (expected.shape, expected.dtype, expected.stride()), op
            assert found.is_contiguous(), op
    assert OPS.tangent(direction, RECIPES[name], x, saved).dtype == torch.float64  # rounded to the output's dtype later


@pytest.mark.parametrize("name", RECIPES)
def test_they_map_over_a_dimension_of_torch_func(name):
    recipe = RECIPES[name]
    x, upstream, direction, saved = _arguments(name)
    single = torch.func.vmap(lambda x: OPS.apply(x[None], recipe))(x)
    torch.testing.assert_close(single[:, 0], OPS.apply(x, recipe))
    saved_each = [part.unsqueeze(1) for part in saved]
    for op, first in ((OPS.backward, upstream), (OPS.tangent, direction)):
        mapped = torch.func.vmap(lambda first, x, saved, op=op: op(first, recipe, x, saved))(
            first.unsqueeze(1), x.unsqueeze(1), saved_each
        )
        torch.testing.assert_close(mapped[:, 0], op(first, recipe, x, saved))
    if name in TWICE:
        mapped = torch.func.vmap(lambda d, u, x, saved: OPS.double_backward(d, recipe, u, x, saved))(
            *(part.unsqueeze(1) for part in (direction, upstream, x)), saved_each
        )
        for found, expected in zip(mapped, OPS.double_backward(direction, recipe, upstream, x, saved), strict=True):
            torch.testing.assert_close(found[:, 0], expected)


def test_errors_of_the_computation_are_those_of_this_package():
    with pytest.raises(NonFiniteError, match="NaN or infinite"):
        OPS.apply(torch.full((1, 2, 3), torch.nan), RECIPES["gram"])


@needs_torch_2_11
def test_what_a_cuda_graph_cannot_record_is_refused_before_the_graph_is_lost(monkeypatch):
    monkeypatch.setattr("gcp_repro.linalg.machinery.ops.is_recorded", lambda: True)
    with FakeTensorMode():
        features = torch.empty(2, 4, 9, device="cuda")
        with pytest.raises(OptionError, match=r"got PoolingSpec\(.*\), which does: leave the layer out of the graph"):
            build_meta_layer("svd_pade")(features)
        with pytest.raises(OptionError, match="which does"):
            build_meta_layer("log_cholesky")(features)
        for name in ("epn", "bcnn"):
            assert build_meta_layer(name)(features).shape == (2, 10)
    assert build_meta_layer("svd_pade")(_random(2, 4, 9)).shape == (2, 10)


@pytest.mark.parametrize("name", RECIPES)
def test_under_a_mode_that_watches_operators(name):
    """Such a mode calls the computations below autograd, which some of them use."""
    x, *_ = _arguments(name)
    torch.set_num_threads(1)  # modes do not reach the pool's threads
    gradients = []
    for mode in (nullcontext(), FlopCounterMode(display=False)):
        with mode:
            features = x.clone().requires_grad_()
            gradients += torch.autograd.grad(OPS.apply(features, RECIPES[name]).square().sum(), features)
    assert torch.equal(*gradients)


@pytest.mark.skipif(not hasattr(torch.Tag, "cudagraph_unsafe"), reason="needs a torch whose compiler knows the tag")
def test_the_compiler_leaves_them_out_of_cuda_graphs():
    """They look at values on their way, which a graph of kernels that is being recorded cannot."""
    for name in ("compute", "backward", "tangent", "double_backward", "apply"):
        assert torch.Tag.cudagraph_unsafe in getattr(OPS, name).default.tags


def test_they_take_no_arguments_that_a_compiler_gives_wrongly():
    """AOTInductor of torch 2.11 counts dtypes from another number: float64 arrives as complex32."""
    for name in ("compute", "backward", "tangent", "double_backward", "apply", "uniform"):
        assert "ScalarType" not in str(getattr(OPS, name).default._schema)
