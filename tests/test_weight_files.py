import argparse
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from gcp_repro.errors import DataError
from gcp_repro.weight_files import read_weights

RAN = []


class Malicious:
    def __reduce__(self):
        return RAN.append, (1,)


@pytest.mark.parametrize("legacy", [False, True])
def test_both_formats_of_torch_are_read(tmp_path, legacy):
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    file = read_weights(tmp_path / "w.pth")
    assert file.weights["a"].tolist() == [1, 1]
    assert (file.architecture, file.epoch, file.best_top1_accuracy) == (None, None, None)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "best", [np.float64(61.5), np.float32(61.5), torch.tensor(61.5), torch.tensor([61.5]), 61.5, np.array(61.5), None, "high"]
)
def test_facts_beside_the_weights_may_be_of_any_kind(tmp_path, best, legacy):
    """What training scripts of the time leave in a checkpoint: numbers of NumPy, tensors, the command line's arguments."""
    weights = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(weights.parameters(), lr=np.float64(0.1)).state_dict()
    content = {
        "epoch": np.int64(3), "arch": "alexnet", "state_dict": weights.state_dict(), "best_prec1": best, "optimizer": optimizer,
        "args": argparse.Namespace(lr=0.1, history=[np.float64(2)], curve=np.ones(3)),
    }  # fmt: skip
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=not legacy)
    file = read_weights(tmp_path / "w.pth")
    known = None if best is None or isinstance(best, str | np.ndarray) else 61.5
    assert (file.architecture, file.epoch, file.best_top1_accuracy) == ("alexnet", 3, known)
    assert torch.equal(file.weights["weight"], weights.weight)


def test_numbers_of_older_numpy_are_read(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1)}, "best_prec1": np.float64(61.5)}, tmp_path / "w.pth",
               _use_new_zipfile_serialization=False)  # fmt: skip
    content = (tmp_path / "w.pth").read_bytes()
    assert b"numpy._core.multiarray" in content
    (tmp_path / "old.pth").write_bytes(content.replace(b"numpy._core.multiarray", b"numpy.core.multiarray"))
    assert read_weights(tmp_path / "old.pth").best_top1_accuracy == 61.5


def test_a_number_that_is_an_object_runs_no_code(tmp_path):
    torch.save({"a": torch.ones(1), "b": np.float64(1)}, tmp_path / "w.pth", _use_new_zipfile_serialization=False)
    content = (tmp_path / "w.pth").read_bytes()
    (tmp_path / "w.pth").write_bytes(content.replace(b"X\x02\x00\x00\x00f8", b"X\x01\x00\x00\x00O"))
    with pytest.raises(DataError, match="cannot create an OBJECT array from memory buffer"):
        read_weights(tmp_path / "w.pth")


def test_wrappers_leave_no_trace(tmp_path):
    network = nn.Sequential(nn.Linear(1, 1), nn.ReLU())
    wrapped = torch.compile(nn.DataParallel(network)).state_dict()
    assert "_orig_mod.module.0.weight" in wrapped
    torch.save({"model": wrapped}, tmp_path / "w.pth")
    file = read_weights(tmp_path / "w.pth")
    assert set(file.weights) == {"0.weight", "0.bias"}
    assert "1" in file.modules  # without tensors


def test_safetensors(tmp_path):
    save_file({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    assert read_weights(tmp_path / "w.safetensors").weights["a"].tolist() == [1, 1]
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "w.safetensors").read_bytes()[:20])
    with pytest.raises(DataError, match=r"reading .*cut\.safetensors gave SafetensorError"):
        read_weights(tmp_path / "cut.safetensors")


def test_code_in_a_file_is_not_run(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"a": torch.ones(1)}, "extra": Malicious()}, path)
    with pytest.raises(
        DataError, match=r"must hold tensors and plain values alone; .* reading it could run any code: if you trust"
    ):
        read_weights(path)
    path.write_bytes(pickle.dumps(Malicious(), protocol=2))
    with pytest.raises(DataError, match=r"w\.pth"):
        read_weights(path)
    assert RAN == []


def test_a_whole_network_is_refused_by_name(tmp_path):
    torch.save(nn.Sequential(nn.Linear(1, 1)), tmp_path / "w.pth")
    with pytest.raises(
        DataError, match=r"needs the code of torch\.nn\.modules\.container\.Sequential, .*torch\.save\(model\.state"
    ):
        read_weights(tmp_path / "w.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "needs a dictionary of tensors; .* holds a list: save model.state_dict"),
        ({}, "needs tensors alone; that in .* holds nothing"),
        ({"state_dict": {"a": 1}}, "needs tensors alone; that in .* holds others, as 'a'"),
        ({"a": torch.ones(1), "module.a": torch.ones(1)}, r"needs each tensor once; .* with and without 'module\.'"),
    ],
)
def test_files_without_weights(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(DataError, match=message):
        read_weights(tmp_path / "w.pth")


def test_damaged_and_missing_files(tmp_path):
    torch.save({"a": torch.ones(1000)}, tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    for content in (b"", b"hello", whole[: len(whole) // 2]):
        (tmp_path / "cut.pth").write_bytes(content)
        with pytest.raises(DataError, match=r"needs to be a file of torch\.save; reading .*cut\.pth gave .*: get it again"):
            read_weights(tmp_path / "cut.pth")
    with pytest.raises(DataError, match=r"needs a file; there is none at .*none\.pth: correct the path"):
        read_weights(tmp_path / "none.pth")
