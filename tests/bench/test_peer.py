import sys

import mpmath
import pytest
import torch
from torch import nn

from gcp_repro.bench.peer import PEER_CLASSES, opened
from gcp_repro.errors import DataError, UnknownNameError
from gcp_repro.metalayers import META_LAYERS, build_meta_layer

CPU = torch.device("cpu")


def state():
    return {
        "tensor": torch.Tensor.cuda,
        "module": nn.Module.cuda,
        "path": list(sys.path),
        "modules": sorted(name for name in sys.modules if name.split(".")[0] == "src"),
        "byte code": sys.dont_write_bytecode,
        "digits": mpmath.mp.dps,
    }


def test_the_peers_layers_run_on_the_cpu_and_agree(make_peer):
    features = torch.randn(3, 5, 4, 4)
    with opened(make_peer(), CPU) as peer:
        pooled = peer.build("SVD_Pade", 5)(features)
        newton_schulz = peer.build("MPNCOV", 5)  # refers to a name that its module does not define
        assert newton_schulz(features).shape == (3, 15)
    torch.testing.assert_close(pooled, build_meta_layer("svd_lyapunov")(features))


def test_everything_is_put_back(make_peer, monkeypatch):
    foreign = type(sys)("src")
    monkeypatch.setitem(sys.modules, "src", foreign)
    before = state()
    clone = make_peer()

    with opened(clone, CPU):
        assert torch.Tensor.cuda is not before["tensor"]
        assert "src.representation.MPNCOV" in sys.modules

    assert state() == before
    assert sys.modules["src"] is foreign
    assert not list(clone.rglob("__pycache__"))


def test_everything_is_put_back_after_an_error(make_peer):
    before = state()
    with pytest.raises(RuntimeError, match="in the block"), opened(make_peer(), CPU):
        raise RuntimeError("in the block")
    assert state() == before


def test_cuda_is_left_alone_on_cuda(make_peer, monkeypatch):
    calls = []

    def cuda(tensor):
        calls.append(tensor)
        return tensor

    monkeypatch.setattr(torch.Tensor, "cuda", cuda)
    with opened(make_peer(), torch.device("cuda")):
        assert torch.Tensor.cuda is cuda
    assert calls  # the clone's own call at import reached it


def test_a_folder_without_a_clone_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"needs a clone of DifferentiableSVD.*has none: clone the repository"):
        opened(tmp_path, CPU).__enter__()


def test_a_broken_clone_is_refused_and_leaves_no_trace(make_peer):
    clone = make_peer()
    (clone / "src" / "representation" / "__init__.py").write_text("import a_package_that_is_not_there\n")
    before = state()
    with pytest.raises(DataError, match=r"gave ModuleNotFoundError: No module named 'a_package.*: check out"):
        opened(clone, CPU).__enter__()
    assert state() == before


def test_an_unknown_class_is_named(make_peer):
    with (
        opened(make_peer(names=("SVD_Pade", "MPNCOV")), CPU) as peer,
        pytest.raises(UnknownNameError, match=r"no peer layer 'SVD_Trunc'.*known: MPNCOV, SVD_Pade"),
    ):
        peer.build("SVD_Trunc", 4)


def test_counterparts_name_registered_layers_and_known_classes():
    assert {name for entry in META_LAYERS.values() for name in entry.peers} == set(PEER_CLASSES)
