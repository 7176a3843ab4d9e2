import unicodedata
from dataclasses import replace

import pytest

from gcp_repro.data.image_set import ImageSet
from gcp_repro.data.storage import FolderStorage
from gcp_repro.data.subset import class_names, select_subset
from gcp_repro.errors import OptionError, UnknownNameError


@pytest.fixture
def image_set(tmp_path):
    train = [(f"train/{label}_{number}", label) for label in range(4) for number in range(10)]
    val = [(f"val/{label}_{number}", label) for label in range(4) for number in range(3)]
    return ImageSet(train, val, ("a", "b", "c", "d"), FolderStorage(tmp_path))


def test_a_fraction_is_drawn_class_by_class_and_repeats(image_set):
    part = select_subset(image_set, fraction=0.3, seed=1)
    assert [label for _, label in part.train] == [0] * 3 + [1] * 3 + [2] * 3 + [3] * 3
    assert part.val == image_set.val
    assert part == select_subset(image_set, fraction=0.3, seed=1)
    assert part.train != select_subset(image_set, fraction=0.3, seed=2).train
    assert len(select_subset(image_set, fraction=0.001).train) == 4


def test_classes_are_numbered_anew(image_set):
    part = select_subset(image_set, classes=["d", "b"])
    assert part.classes == ("b", "d")
    assert {(name[6], label) for name, label in part.train} == {("1", 0), ("3", 1)}
    assert len(part.val) == 6
    drawn = select_subset(image_set, classes=2, seed=0)
    assert len(drawn.classes) == 2
    assert drawn == select_subset(image_set, classes=2, seed=0)


def test_subset_options_out_of_range(image_set):
    with pytest.raises(OptionError, match=r"fraction needs a number in \(0, 1\]; got 1.5"):
        select_subset(image_set, fraction=1.5)
    with pytest.raises(OptionError, match="needs 1 to 4 classes; got 5"):
        select_subset(image_set, classes=5)
    with pytest.raises(UnknownNameError, match="no class 'e'; known: a, b, c, d"):
        select_subset(image_set, classes=["e"])


def named(image_set, *names):
    return replace(image_set, classes=names)


def test_names_that_yaml_makes_numbers_or_truth_values_of(image_set):
    whole = named(image_set, "0", "10", "1e3", "true")
    for given, kept in (([0, 10], ("0", "10")), ([1000.0], ("1e3",)), ([True], ("true",)), (["10"], ("10",))):
        assert select_subset(whole, classes=given).classes == kept
    with pytest.raises(UnknownNameError, match=r"no class 1; .*known: 0, 10, 1e3, true"):
        select_subset(whole, classes=[1])
    with pytest.raises(OptionError, match=r"names of one class each; 1 may be 1, \+1: put it in quotes"):
        select_subset(named(image_set, "1", "+1", "b", "c"), classes=[1])


@pytest.mark.parametrize(("ours", "theirs"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_the_same_in_both_their_forms(image_set, ours, theirs):
    whole = named(image_set, "a", unicodedata.normalize(ours, "café"), "c", "d")
    assert select_subset(whole, classes=[unicodedata.normalize(theirs, "café")]).classes == whole.classes[1:2]


def test_a_folder_for_a_file_of_names(tmp_path):
    with pytest.raises(OptionError, match=r"cannot be read \(a folder: put .*as in data\.classes=\[a,b\]"):
        class_names(str(tmp_path))


def test_a_file_of_names(image_set, tmp_path):
    (tmp_path / "two.txt").write_text("d\tthe last\n\nb\n", encoding="utf-8-sig")  # as Windows' editors write it
    assert select_subset(image_set, classes=str(tmp_path / "two.txt")).classes == ("b", "d")
    (tmp_path / "two.txt").write_text("d\r\nb\r\n", encoding="utf-16")
    assert select_subset(image_set, classes=str(tmp_path / "two.txt")).classes == ("b", "d")
    named = replace(image_set, classes=("big cat", "big", "n01440764", "d"))
    (tmp_path / "two.txt").write_text("big cat\nn01440764 tench, Tinca tinca\n")
    assert select_subset(named, classes=str(tmp_path / "two.txt")).classes == ("big cat", "n01440764")
    with pytest.raises(OptionError, match="needs names of one class each; several are called 'crane'"):
        select_subset(replace(image_set, classes=("crane", "a", "crane", "b")), classes=["crane"])
    for given in (str(tmp_path / "none"), True, []):
        with pytest.raises(OptionError, match=r"data\.classes needs a"):
            select_subset(image_set, classes=given)
