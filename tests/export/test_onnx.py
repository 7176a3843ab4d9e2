"""Networks as ONNX files, run by onnxruntime; and words where there is no way, from every exporter of torch."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
from torch import nn

from gcp_repro.errors import GCPError, OptionError
from gcp_repro.export import onnx, to_onnx
from gcp_repro.linalg import matrix_sqrt
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from tests.metalayers.inputs import features_of

runtime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of torch's exporter and of onnxscript
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

WRITABLE = [
    ("gap", {}), ("isqrt_cov", {"route": "dense", "num_iterations": 3}), ("bcnn", {}), ("improved_bcnn", {}), ("mtp_lya", {}),
    ("cbp", {"projection_dim": 30}), ("cross_covariance", {}), ("isqrt_cov", {"heads": 2, "layout": "nchw"}),
    ("spectral", {"forward": "newton_schulz", "gradient": "svd", "moment": "gaussian"}),
    ("dropcov", {}), ("epn", {}), ("svpn", {}), ("rank1_update", {}), ("isice", {}),
]  # fmt: skip


def network(name, **options):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), build_meta_layer(name, **options), nn.LazyLinear(3))
    net(torch.rand(2, 3, 5, 6))
    return net


def run(path, images):
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


@pytest.mark.parametrize(("name", "options"), WRITABLE)
def test_onnxruntime_gives_what_torch_gives(tmp_path, name, options):
    """To the rounding of a float32 network, for other batches than the example."""
    net = network(name, **options)
    path = to_onnx(net, tmp_path / "net.onnx", torch.rand(1, 3, 5, 6))
    assert net.training
    assert net[2].name == name
    images = torch.rand(5, 3, 5, 6)
    with torch.no_grad():
        expected = net.eval()(images)
    assert (run(path, images) - expected).abs().max() <= 1e-5 * expected.abs().max()


class Counting(nn.Module):
    calls = 0

    def forward(self, x):
        Counting.calls += 1 if not torch.compiler.is_compiling() else 0
        return x


def test_the_network_is_left_as_it_is_and_run_once(tmp_path):
    """With a frozen part in evaluation while the rest trains; also where the file is refused."""
    net = nn.Sequential(Counting(), *network("isqrt_cov"))
    net[2].eval()
    before = [module.training for module in net.modules()]
    Counting.calls = 0
    for allowed in (1.0, -1.0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(onnx, "LARGEST_DIFFERENCE", allowed)
            with nullcontext() if allowed > 0 else pytest.raises(GCPError, match="must give what the network gives"):
                to_onnx(net, tmp_path / "net.onnx", torch.rand(2, 3, 5, 6))
        assert [module.training for module in net.modules()] == before
    assert Counting.calls == 2


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = self.second = build_meta_layer("isqrt_cov")

    def forward(self, x):
        return self.first(x) + self.second(2 * x)


def test_a_layer_of_two_names_is_replaced_under_both(tmp_path):
    features = features_of(3, 4, 9)
    path = to_onnx(Twice(), tmp_path / "twice.onnx", features)
    found = runtime.InferenceSession(path).run(None, {"images": features.numpy()})[0]
    torch.testing.assert_close(torch.from_numpy(found), Twice()(features), rtol=1e-12, atol=1e-12)


def test_a_layer_alone_with_fewer_channels_than_positions_and_the_other_way_round(tmp_path):
    """In float64, and for constant features."""
    for shape in ((2, 3, 8), (2, 8, 3)):
        features = torch.rand(*shape, dtype=torch.float64) * torch.tensor([1.0, 0.0], dtype=torch.float64)[:, None, None]
        layer = build_meta_layer("isqrt_cov")
        path = to_onnx(layer, tmp_path / "layer.onnx", features)
        torch.testing.assert_close(run(path, features), layer(features), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "name", [*sorted(set(META_LAYERS.built_in) - {name for name, _ in WRITABLE} - {"isqrt_cov"}), "spectral"]
)
def test_layers_that_decompose_say_so(tmp_path, name):
    with pytest.raises(OptionError, match=rf"needs layers made of matrix products; got {name}, .* put isqrt_cov in its place"):
        to_onnx(network(name), tmp_path / "net.onnx", torch.rand(2, 3, 5, 6))
    assert not (tmp_path / "net.onnx").exists()


def test_a_file_that_gives_something_else_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("gcp_repro.metalayers.plain.FUNCTIONS", {"newton_schulz": lambda matrix, num_iterations: 1.01 * matrix})
    with pytest.raises(GCPError, match=r"must give what the network gives; onnxruntime's output of .* differs from torch's by"):
        to_onnx(build_meta_layer("isqrt_cov"), tmp_path / "layer.onnx", torch.rand(2, 3, 8))


def test_packages_that_are_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptionError, match=r'onnx is missing: pip install "gcp_repro\[onnx\]"'):
        to_onnx(build_meta_layer("gap"), tmp_path / "layer.onnx", torch.rand(2, 3, 8))


@pytest.mark.parametrize("name", ["gap", "bcnn", "svd_pade", "isqrt_cov"])
def test_the_legacy_exporter_is_refused(tmp_path, name):
    """It wrote networks that gave zeros."""
    with pytest.raises(OptionError, match=r"dynamo=False.* use gcp_repro.export.to_onnx"):
        torch.onnx.export(network(name).eval(), (torch.rand(2, 3, 5, 6),), tmp_path / "net.onnx", dynamo=False)


class Root(nn.Module):
    def forward(self, x):
        return matrix_sqrt(x @ x.mT)


@pytest.mark.parametrize("module", [Root(), build_meta_layer("svd_pade")], ids=["matrix_sqrt", "layer"])
def test_the_other_exporter_is_told_what_to_do(tmp_path, module):
    with pytest.raises(torch.onnx.OnnxExporterError) as caught:
        torch.onnx.export(module.eval(), (torch.rand(2, 4, 6),), tmp_path / "net.onnx", dynamo=True, verbose=False)
    assert "use gcp_repro.export.to_onnx(model, path, example)" in str(caught.value)
