import gzip
import pickle
import struct

import numpy as np
import pytest
import torch

from gcp_repro.data.array_files import read_idx
from gcp_repro.data.arrays import ARRAY_SETS, ArrayDataModule
from gcp_repro.data.tiny import write_tiny
from gcp_repro.errors import DataError, OptionError, UnknownNameError

FETCHED = [name for name, entry in ARRAY_SETS.items() if entry.packaged is None]


def make(name, root, **options):
    module = ArrayDataModule(name, root and str(root), **({"allow_partial": True} | options))
    module.setup("fit")
    return module


@pytest.mark.parametrize("name", FETCHED)
def test_both_splits_in_order(name, tmp_path):
    module = make(name, write_tiny(name, tmp_path / "x"))
    images, labels = next(iter(module.val_dataloader()))
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert images.dtype == torch.uint8
    assert images.shape[1] == module.in_channels == len(module.mean)
    assert sorted(next(iter(module.train_dataloader()))[1].tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    assert module.num_classes == ARRAY_SETS[name].expected.classes


@pytest.mark.parametrize("name", FETCHED)
def test_counts_are_checked(name, tmp_path):
    with pytest.raises(DataError, match=rf"it has 12 of {ARRAY_SETS[name].expected.train:,} training images"):
        make(name, write_tiny(name, tmp_path / "x"), allow_partial=False)


@pytest.mark.parametrize("name", FETCHED)
def test_found_below_the_common_folder_or_missed_with_advice(name, tmp_path):
    with pytest.raises(DataError, match=rf"looked in {tmp_path}, .*data\.download=true"):
        make(name, tmp_path)
    write_tiny(name, tmp_path / ARRAY_SETS[name].subfolders[0])
    make(name, tmp_path)


@pytest.mark.parametrize("options", [{}, {"tiny": True}])
def test_the_set_in_the_package_needs_no_folder_and_stays_as_it_is(options):
    module = make("fashion_mnist_small", None, allow_partial=False, **options)
    for split, size in (("train", 4_000), ("val", 2_500)):
        images, labels = module.make_dataset(split).tensors
        assert images.shape == (size, 1, 28, 28)
        assert torch.bincount(labels).min() > 0.08 * size
        assert images.float().mean() / 255 == pytest.approx(module.mean[0], abs=0.01)


def test_every_seed_may_have_its_own_training_images_and_the_same_test():
    first, second = (make("fashion_mnist_small", None, train_size=1_000, subset_seed=seed) for seed in (0, 1))
    assert not torch.equal(first.make_dataset("train").tensors[0], second.make_dataset("train").tensors[0])
    assert torch.equal(first.make_dataset("val").tensors[0], second.make_dataset("val").tensors[0])


def test_a_set_outside_the_package_needs_a_folder():
    with pytest.raises(OptionError, match="CIFAR-10 needs the folder of its files; got none"):
        ArrayDataModule("cifar10")


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


@pytest.fixture
def larger(tmp_path):
    """Fashion-MNIST of 80 training and 40 test images whose first pixel is their number."""
    for prefix, number in (("train", 80), ("t10k", 40)):
        images = np.zeros((number, 28, 28), np.uint8)
        images[:, 0, 0] = np.arange(number)
        header = struct.pack(">HBBIII", 0, 8, 3, number, 28, 28)
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = (np.arange(number) % 4).astype(np.uint8)
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, number) + labels.tobytes())
    return tmp_path


def numbers_and_labels(root, part, **options):
    images, labels = make("fashion_mnist", root, **options).make_dataset(part).tensors
    return images[:, 0, 0, 0].tolist(), labels.tolist()


def test_absolute_sizes_keep_the_proportions_of_the_classes(larger):
    numbers, labels = numbers_and_labels(larger, "train", train_size=20, eval_size=8)
    assert numbers == sorted(set(numbers))
    assert [labels.count(label) for label in range(4)] == [5] * 4
    assert labels == [number % 4 for number in numbers]
    assert len(numbers_and_labels(larger, "val", train_size=20, eval_size=8)[0]) == 8
    assert len(numbers_and_labels(larger, "val", train_size=20)[0]) == 40


def test_a_subset_follows_its_seed_and_the_test_images_do_not(larger):
    first, second = ({"train_size": 20, "eval_size": 8, "subset_seed": seed} for seed in (1, 2))
    assert numbers_and_labels(larger, "train", **first) != numbers_and_labels(larger, "train", **second)
    assert numbers_and_labels(larger, "val", **first) == numbers_and_labels(larger, "val", **second)


def test_validation_images_are_left_over_from_training(larger):
    options = {"train_size": 20, "eval_size": 8, "split": "validation", "subset_seed": 3}
    train, validation = (set(numbers_and_labels(larger, part, **options)[0]) for part in ("train", "val"))
    assert (len(train), len(validation)) == (20, 8)
    assert not train & validation
    assert max(validation) >= 40  # they are training images: only 40 are in the test set
    whole = numbers_and_labels(larger, "val", train_size=20, split="validation", subset_seed=3)[0]
    assert sorted(whole + sorted(train)) == list(range(80))


def test_label_noise_changes_that_share_of_the_training_labels_alone(larger):
    numbers, labels = numbers_and_labels(larger, "train", label_noise=0.25)
    assert sum(label != number % 4 for number, label in zip(numbers, labels, strict=True)) == 20
    again = numbers_and_labels(larger, "train", label_noise=0.25, subset_seed=1)[1]
    assert labels == numbers_and_labels(larger, "train", label_noise=0.25)[1] != again
    numbers, labels = numbers_and_labels(larger, "val", label_noise=0.25)
    assert labels == [number % 4 for number in numbers]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"train_size": 2},
            r"80 train images of 4 classes and can be divided into 4 to 76, or all; got 2: change data\.train_size",
        ),
        ({"train_size": 79}, r"got 79: change data\.train_size"),
        ({"eval_size": 41}, r"40 evaluation images .*got 41: change data\.eval_size"),
        ({"train_size": 20, "eval_size": 59, "split": "validation"}, r"60 left over images .*got 59: change data\.eval_size"),
        ({"train_size": 20, "fraction": 0.5}, r"both choose training images: set one of them"),
        ({"split": "validation"}, r"needs training images that are left over: set data\.train_size"),
        ({"split": "val", "train_size": 20}, r"'test' or 'validation'; got split='val': change data\.split"),
        ({"label_noise": 1.5}, r"a share from 0 to 1; got 1\.5: change data\.label_noise"),
    ],
)
def test_sizes_that_the_data_do_not_have_are_refused(larger, options, words):
    with pytest.raises(OptionError, match=words):
        make("fashion_mnist", larger, **options)


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
