import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from gcp_repro.data.digits import DigitsDataModule, digits_indices
from gcp_repro.errors import OptionError

LABELS = load_digits().target


def datasets(**options):
    data = DigitsDataModule(**options)
    data.setup("fit")
    return {split: data.make_dataset(split).tensors for split in ("train", "val")}


def test_sizes_and_ranges():
    for split, size in {"test": 897, "validation": 600}.items():
        sets = datasets(split=split)
        images, labels = sets["train"]
        assert images.shape == (300, 1, 8, 8)
        assert images.dtype == torch.float32
        assert (images.min(), images.max()) == (0, 1)
        assert labels.unique().tolist() == list(range(10))
        assert len(sets["val"][0]) == len(sets["val"][1]) == size


def test_test_images_are_the_last_897_in_their_order():
    images, labels = datasets()["val"]
    digits = load_digits()
    np.testing.assert_array_equal(images[:, 0].numpy() * 16, digits.images[900:])
    np.testing.assert_array_equal(labels, digits.target[900:])


def test_parts_share_no_row_and_cover_the_candidates():
    rows = digits_indices(LABELS, 300, 0)
    assert sorted(np.concatenate([rows["train"], rows["validation"]])) == list(range(900))
    assert rows["test"].tolist() == list(range(900, 1797))


def test_classes_are_equally_represented():
    shares = np.bincount(LABELS[digits_indices(LABELS, 300, 0)["train"]])
    assert shares.max() - shares.min() <= 3
    assert np.all(np.abs(shares - np.bincount(LABELS[:900]) / 3) < 1)


def test_split_depends_on_its_own_seed_alone():
    train = [datasets(**options)["train"][0] for options in ({"seed": 1}, {"seed": 2}, {"split_seed": 1})]
    assert torch.equal(train[0], train[1])
    assert not torch.equal(train[0], train[2])


def test_normalisation_constants_are_those_of_the_candidates():
    candidates = load_digits().data[:900] / 16
    assert DigitsDataModule.mean == pytest.approx([candidates.mean()], abs=1e-4)
    assert DigitsDataModule.std == pytest.approx([candidates.std()], abs=1e-4)


def test_label_noise_changes_that_share_of_the_training_labels_alone():
    clean, noisy = datasets(), datasets(label_noise=0.1)
    assert (clean["train"][1] != noisy["train"][1]).sum() == 30
    assert noisy["train"][1].unique().tolist() == list(range(10))
    assert torch.equal(clean["train"][0], noisy["train"][0])
    assert torch.equal(clean["val"][1], noisy["val"][1])


def test_wrong_options_are_refused():
    with pytest.raises(OptionError, match=r"a share from 0 to 1; got -0.1: change data.label_noise"):
        DigitsDataModule(label_noise=-0.1)
    with pytest.raises(OptionError, match=r"between 10 and 890 training images; got train_size=5: choose another"):
        DigitsDataModule(train_size=5)
    with pytest.raises(OptionError, match=r"'test' or 'validation'; got split='val': change data.split"):
        DigitsDataModule(split="val")
