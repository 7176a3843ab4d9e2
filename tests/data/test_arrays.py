import gzip
import pickle
import struct

import numpy as np
import pytest
import torch

from gcp_repro.data.arrays import ARRAY_SETS, ArrayDataModule, read_idx
from gcp_repro.data.tiny import write_tiny
from gcp_repro.errors import DataError, UnknownNameError


def make(name, root, **options):
    module = ArrayDataModule(name, str(root), **({"allow_partial": True} | options))
    module.setup("fit")
    return module


@pytest.mark.parametrize("name", ARRAY_SETS)
def test_both_splits_in_order(name, tmp_path):
    module = make(name, write_tiny(name, tmp_path / "x"))
    images, labels = next(iter(module.val_dataloader()))
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.dtype == torch.uint8
    assert images.shape[1] == module.in_channels == len(module.mean)
    assert sorted(next(iter(module.train_dataloader()))[1].tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    assert module.num_classes == ARRAY_SETS[name].expected.classes


@pytest.mark.parametrize("name", ARRAY_SETS)
def test_counts_are_checked(name, tmp_path):
    with pytest.raises(DataError, match=rf"it has 12 of {ARRAY_SETS[name].expected.train:,} training images"):
        make(name, write_tiny(name, tmp_path / "x"), allow_partial=False)


@pytest.mark.parametrize("name", ARRAY_SETS)
def test_found_below_the_common_folder_or_missed_with_advice(name, tmp_path):
    with pytest.raises(DataError, match=rf"looked in {tmp_path}, .*data\.download=true"):
        make(name, tmp_path)
    write_tiny(name, tmp_path / ARRAY_SETS[name].subfolders[0])
    make(name, tmp_path)


def test_fashion_mnist_names_debians_package(tmp_path):
    with pytest.raises(DataError, match="Debian's package dataset-fashion-mnist"):
        make("fashion_mnist", tmp_path)


def test_idx_files_plain_and_compressed(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    content = struct.pack(">HBBIII", 0, 8, 3, 2, 3, 4) + array.tobytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(content))
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)
    (tmp_path / "a").write_bytes(content)
    np.testing.assert_array_equal(read_idx(tmp_path / "a"), array)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (struct.pack(">HBBI", 0, 8, 1, 5) + b"1234", "promises 5 of kind 0x08 and 4 follow"),
        (struct.pack(">HBBI", 0, 13, 1, 1) + b"1234", "promises 1 of kind 0x0d"),
        (b"\0\0", "an IDX file is needed at"),
    ],
)
def test_damaged_idx_files(tmp_path, content, words):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_idx(tmp_path / "a")


def test_truncated_gzip(tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress(bytes(10_000))[:20])
    with pytest.raises(DataError, match=r"an IDX file is needed at .*a\.gz"):
        read_idx(tmp_path / "a")


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    root = write_tiny("cifar10", tmp_path / "x")

    class Harmful:
        def __reduce__(self):
            return (exec, ("raise SystemExit",))

    (root / "test_batch").write_bytes(pickle.dumps({"data": Harmful(), "labels": []}))
    with pytest.raises(DataError, match=r"test_batch; reading it gave UnpicklingError: it asks for builtins\.exec"):
        make("cifar10", root)


def test_labels_and_images_must_agree(tmp_path):
    root = write_tiny("cifar100", tmp_path / "x")
    (root / "test").write_bytes(pickle.dumps({b"data": np.zeros((2, 3072), np.uint8), b"fine_labels": [0, 100]}))
    with pytest.raises(DataError, match="needs a label from 0 to 99 for each val image; it has 2 images and 2 labels up to 100"):
        make("cifar100", root)


def test_cifar_is_augmented_and_fashion_mnist_is_not(tmp_path):
    assert make("fashion_mnist", write_tiny("fashion_mnist", tmp_path / "f")).train_transform() is None
    transform = make("cifar10", write_tiny("cifar10", tmp_path / "c")).train_transform()
    assert transform(torch.ones(3, 32, 32, dtype=torch.uint8)).shape == (3, 32, 32)


def test_subsets(tmp_path):
    root = write_tiny("fashion_mnist", tmp_path / "x")
    module = make("fashion_mnist", root, fraction=0.5)
    assert len(module.make_dataset("train")) == 6
    two = make("fashion_mnist", root, classes=5)
    assert two.num_classes == 5
    assert two.make_dataset("val").tensors[1].max() < 5


def test_an_unknown_set():
    with pytest.raises(UnknownNameError, match="no data set 'cifar'; nearest: 'cifar10', 'cifar100'"):
        ArrayDataModule("cifar", "x")


def test_download_is_asked_of_torchvision_only_when_wanted(tmp_path, monkeypatch):
    from dataclasses import replace

    calls = []

    def download(root, *, train, download):
        calls.append((root, train, download))
        if train:
            write_tiny("cifar10", tmp_path / "cifar-10-batches-py")

    monkeypatch.setitem(ARRAY_SETS, "cifar10", replace(ARRAY_SETS["cifar10"], download=download))
    ArrayDataModule("cifar10", str(tmp_path)).prepare_data()
    assert calls == []
    ArrayDataModule("cifar10", str(tmp_path), download=True).prepare_data()
    assert calls == [(str(tmp_path), True, True), (str(tmp_path), False, True)]
    ArrayDataModule("cifar10", str(tmp_path), download=True).prepare_data()
    assert len(calls) == 2
