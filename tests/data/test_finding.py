"""Where a data set is looked for, and the words for what is there instead."""

import os
import shutil

import pytest

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.tiny import write_tiny
from gcp_repro.errors import DataError, MissingPathError
from tests.fakes.image_forms import put, write_images

PARTIAL = OpenOptions(allow_partial=True)


@pytest.mark.parametrize(
    ("name", "place"), [("birds", "unpacked/cub200"), ("aircraft", "a/b/c"), ("dogs", "x"), ("imagenet", "y/z")]
)
def test_a_form_that_lies_deeper_is_pointed_at(tmp_path, name, place):
    root = write_tiny(name, tmp_path / place)
    with pytest.raises(DataError, match=rf"; it seems to be in {root}: set data\.root={root}\Z"):
        open_image_set(name, tmp_path)


def test_the_folder_above_is_another_set_where_this_is_no_part_of_it(tmp_path):
    write_images(tmp_path, "train", "val")
    (tmp_path / "mine").mkdir()
    with pytest.raises(DataError, match=rf"; {tmp_path}/mine holds nothing: put images"):
        open_image_set("image_folder", tmp_path / "mine")
    with pytest.raises(DataError, match=rf"; it seems to be in {tmp_path}: set data\.root={tmp_path}\Z"):
        open_image_set("image_folder", tmp_path / "train")


@pytest.mark.parametrize("name", ["birds", "aircraft"])
def test_kaggles_folder_in_a_folder_of_the_same_name_is_found(tmp_path, name):
    folder = {"birds": "CUB_200_2011", "aircraft": "fgvc-aircraft-2013b"}[name]
    write_tiny(name, tmp_path / folder / folder)
    assert len(open_image_set(name, tmp_path, options=PARTIAL).train) == 12


def test_either_of_two_names_is_said_so(tmp_path):
    shutil.rmtree(write_tiny("dogs", tmp_path / "x") / "lists")
    with pytest.raises(DataError, match=r"'original' but for 'lists/train_list\.mat' or 'train_list\.mat': get images"):
        open_image_set("dogs", tmp_path / "x")


def test_no_folder_and_a_folder_without_rights(tmp_path, monkeypatch):
    with pytest.raises(DataError, match=rf"CUB-200-2011 needs a folder; there is none at {tmp_path}/none: get CUB"):
        open_image_set("birds", tmp_path / "none")
    scandir = os.scandir

    def refuse(path):
        if str(path) == str(tmp_path):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(DataError, match=rf"a folder that can be listed is needed; {tmp_path} cannot be \(Permission denied\)"):
        open_image_set("imagenet", tmp_path)


def test_what_a_split_leads_to(tmp_path):
    write_images(tmp_path, "val")
    (tmp_path / "train").symlink_to("/mnt/gone")
    with pytest.raises(DataError, match=r"holds train \(a link to /mnt/gone, which is not there\), val: put images into"):
        open_image_set("image_folder", tmp_path)
    words = r"needs 'train'; looked in .*; train is a link to /mnt/gone, which is not there: name what is there by data\.train"
    with pytest.raises(MissingPathError, match=words):
        open_image_set("image_folder", tmp_path, options=OpenOptions(train_split=("train",)))


@pytest.mark.parametrize(
    ("files", "words"),
    [
        (["archive.zip"], r"; [^ ]* holds archive\.zip: unpack archive\.zip\Z"),
        (["train-0.tar.gz", "val-0.tar.gz"], r"holds train-0\.tar\.gz, val-0\.tar\.gz: unpack train-0\.tar\.gz, val"),
        (["train.7z", "val.tar.zst"], r"holds train\.7z, val\.tar\.zst: unpack train\.7z, val\.tar\.zst\Z"),
        (["train.rec", "val.rec"], r"holds train\.rec, val\.rec: put images"),
        (["a/1.jpg", "b/1.jpg"], r"holds a, b: put images into train/<class>/ and val/<class>/, .* data\.split_column"),
        ([".DS_Store"], r"holds nothing: put images"),
        (
            ["train/cat.1.jpg", "val/cat.1.jpg"],
            r"; the images in .*/train lie in no folder of a class: sort them into folders",
        ),
        (["train/1.jpg", "train/_classes.csv"], r"; if _classes\.csv has their labels, set data\.train_split=train/_cl"),
        (["train/a/1", "val/a/1"], r"a has none but train/a/1, not named as images: name them so, as in x\.jpg"),
    ],
)
def test_none_of_the_forms(tmp_path, files, words):
    for name in files:
        put(tmp_path / name)
    with pytest.raises(DataError, match=words):
        open_image_set("image_folder", tmp_path)


def test_the_folder_above_and_one_without_a_class(tmp_path):
    root = write_tiny("aircraft", tmp_path / "x")
    with pytest.raises(DataError, match=rf"it seems to be in {root}: set data\.root={root}\Z"):
        open_image_set("aircraft", root / "data")
    write_images(tmp_path / "y", "train")
    put(tmp_path / "y" / "val" / "images" / "1.jpg")
    with pytest.raises(DataError, match=r"val needs folders of the 2 classes alone; it has none of them but images: sort its"):
        open_image_set("image_folder", tmp_path / "y")
