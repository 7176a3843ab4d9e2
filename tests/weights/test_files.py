import pickle

import pytest
import torch
from torch import nn

from gcp_repro.errors import DataError
from gcp_repro.weights.files import read_weights

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
