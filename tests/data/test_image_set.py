import logging

import pytest

from gcp_repro.data.image_set import Expected, ImageSet, check_counts, check_labels
from gcp_repro.data.storage import FolderStorage
from gcp_repro.errors import DataError


@pytest.fixture
def image_set(tmp_path):
    train = [(f"train/{label}_{number}", label) for label in range(4) for number in range(10)]
    val = [(f"val/{label}_{number}", label) for label in range(4) for number in range(3)]
    return ImageSet(train, val, ("a", "b", "c", "d"), FolderStorage(tmp_path))


def changed(image_set, **fields):
    return ImageSet(**{**image_set.__dict__, **fields})


def test_sound_lists_pass(image_set):
    check_labels("toys", image_set)
    check_counts("toys", image_set, Expected(classes=4, train=40, val=12), "buy more", allow_partial=False)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("label", [-1, 4])
def test_labels_out_of_range_are_named_as_the_files_count_them(image_set, label, first):
    words = rf"toys needs labels from {first} to {3 + first}; out of range: train/x \(class {label + first}\)"
    with pytest.raises(DataError, match=words):
        check_labels("toys", changed(image_set, train=[("train/x", label)], first_label=first))


def test_overlap_and_repetition(image_set):
    with pytest.raises(DataError, match=r"without common images; 1 are in both: val/0_0: its errors would mean nothing"):
        check_labels("toys", changed(image_set, train=[*image_set.train, ("val/0_0", 0)]))
    with pytest.raises(DataError, match="listed twice for 'val': val/0_0"):
        check_labels("toys", changed(image_set, val=[*image_set.val, ("val/0_0", 0)]))
    with pytest.raises(DataError, match="needs images for 'val'; found none"):
        check_labels("toys", changed(image_set, val=[]))


def test_counts_say_what_is_missing_and_what_to_do(image_set, caplog):
    expected = Expected(classes=4, train=1041, val=12)
    with pytest.raises(
        DataError, match=r"toys is not the published set: it has 40 of 1,041 training images: buy more; or set data\.allow"
    ):
        check_counts("toys", image_set, expected, "buy more", allow_partial=False)
    with caplog.at_level(logging.WARNING):
        check_counts("toys", image_set, expected, "buy more", allow_partial=True)
    assert "40 of 1,041 training images; going on, because data.allow_partial=true" in caplog.text
