"""Operators compute on tensors that say they are on a GPU: one that is left on the CPU fails here, where there is no GPU."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch._subclasses import FakeTensorMode

from gcp_repro.linalg import decomposition, matrix_inv_sqrt, matrix_log, matrix_sqrt, signed_root
from gcp_repro.linalg.machinery import autograd, ops
from gcp_repro.linalg.machinery.operator import Operator
from gcp_repro.linalg.machinery.recipe import read_recipe
from gcp_repro.linalg.recomputed import Recomputed
from gcp_repro.metalayers import build_meta_layer
from tests.metalayers.inputs import PRECISE, VARIANTS
from tests.torch_versions import needs_torch_2_11

pytestmark = needs_torch_2_11

SOLVERS = [
    pytest.param("svd_pade", {"solver": "host"}, id="svd_pade-host"),
    pytest.param("svd_pade", {"solver": "host", "route": "dense"}, id="svd_pade-dense-host"),
    pytest.param("isqrt_cov", {"solver": "products"}, id="isqrt_cov-products"),
    pytest.param("isqrt_cov", {"solver": "products", "route": "dense"}, id="isqrt_cov-dense-products"),
    pytest.param("svd_lyapunov", {"solver": "products"}, id="svd_lyapunov-products"),
    pytest.param("svd_pade", {"route": "dense", "float32_centering": True}, id="svd_pade-float32_centering"),
    pytest.param("svd_pade", {"on_nonfinite": "propagate"}, id="svd_pade-propagate"),
]


@pytest.fixture(params=[True, False], ids=["true", "false"])
def computed(request, monkeypatch):
    """What was computed: recipe, input and results. By the computations themselves, not by the shapes that stand for them while
    tracing; every question about data has one answer."""
    calls = []
    torch.set_num_threads(1)  # the mode of fake tensors is one thread's

    def compute(x, recipe, dtype=None):
        results = ops._compute(x, recipe, dtype)
        calls.append((recipe, x, results))
        return results

    monkeypatch.setattr(autograd, "OPS", SimpleNamespace(compute=compute))
    monkeypatch.setattr(torch.Tensor, "__bool__", lambda tensor: request.param)
    monkeypatch.setattr(decomposition, "ONE_BY_ONE", request.param)
    for module in ("authors", "decomposition", "newton_schulz", "products", "published", "spectral"):
        for check in ("require_finite", "check_semi_definite"):
            monkeypatch.setattr(f"gcp_repro.linalg.{module}.{check}", lambda *_: None, raising=False)
    return calls


WITHOUT_OPERATOR = ("gap", "bcnn", "cbp", "cross_covariance")


def on_the_gpu(*shape):
    return torch.empty(*shape, device="cuda")


def check_derivatives(recipe, x, results):
    """torch's autograd engine asks for a real device, so what it would call is called here, if that does not use it in turn."""
    output, *saved = results
    operator = read_recipe(recipe).operator_for(x)
    if isinstance(operator, Recomputed):
        return
    gradient = ops._backward(torch.ones_like(output), recipe, x, saved)
    assert (gradient.device, gradient.shape) == (x.device, x.shape)
    if type(operator).tangent is Operator.tangent:
        return
    tangent = ops._tangent(torch.ones_like(x), recipe, x, saved)
    assert (tangent.device, tangent.shape) == (output.device, output.shape)


@pytest.mark.parametrize("shape", [(2, 4, 3, 3), (2, 9, 2, 2)], ids=["positions", "channels"])
@pytest.mark.parametrize(("name", "options"), [*VARIANTS, *PRECISE, *SOLVERS])
def test_layers_stay_on_their_device(computed, name, options, shape):
    if name == "log_cholesky" and torch.empty(()):
        pytest.skip("the answer true is its error")
    layer = build_meta_layer(name, **options).eval()  # nothing is drawn, which would change a buffer
    with FakeTensorMode():
        output = layer(on_the_gpu(*shape))
        assert (output.device.type, output.shape) == ("cuda", (2, layer.output_dim(shape[1])))
        for call in computed:
            check_derivatives(*call)
    assert computed or name in WITHOUT_OPERATOR


PLAIN = [("isqrt_cov", {}), ("improved_bcnn", {}), ("mtp_lya", {}), ("rank1_update", {}), ("isice", {}), ("svpn", {}),
         ("cbp", {"projection_dim": 30}), ("isqrt_cov", {"heads": 2, "correlation": True, "shrinkage": "oas"})]  # fmt: skip


@pytest.mark.parametrize(("name", "options"), PLAIN)
def test_what_is_made_of_torchs_operators_alone_stays_on_its_device(name, options):
    layer = build_meta_layer(name, **options)
    with FakeTensorMode():
        features = on_the_gpu(2, 4, 3, 3)
        output = layer.in_plain_torch(features)(features)
        assert (output.device.type, output.shape) == ("cuda", (2, layer.output_dim(4)))


@pytest.mark.parametrize("function", [matrix_sqrt, matrix_inv_sqrt, matrix_log])
def test_functions_of_matrices_stay_on_their_device(computed, function):
    with FakeTensorMode():
        assert function(on_the_gpu(2, 5, 5)).device.type == "cuda"
        (call,) = computed
        check_derivatives(*call)


def test_the_signed_root_stays_on_its_device():
    with FakeTensorMode():
        features, pooled = on_the_gpu(2, 4, 9), on_the_gpu(2, 16).double()
        result, norm, largest = signed_root._SignedRoot.forward(pooled, torch.float32)
        kept = SimpleNamespace(saved_tensors=(result, norm, largest))
        by_pooled, _ = signed_root._SignedRoot.backward(kept, result, norm, None)
        moment = signed_root._SecondMoment.forward(features)
        by_features = signed_root._SecondMoment.backward(SimpleNamespace(saved_tensors=(features,)), moment)
        assert by_pooled.device.type == by_features.device.type == "cuda"


def test_a_tensor_on_the_cpu_would_be_seen():
    with FakeTensorMode(), pytest.raises(RuntimeError, match="cuda"):
        on_the_gpu(2, 5) + torch.empty(2, 5)
