"""Every layout: what is read from a sound set, and what is said of one that is not there or not whole."""

import logging
from dataclasses import replace

import numpy as np
import pytest

from gcp_repro.data.catalog import CATALOG
from gcp_repro.data.image_set import Expected
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.reader import decode_rgb
from gcp_repro.data.tiny import TINY, Tiny, write_tiny
from gcp_repro.errors import DataError, UnknownNameError

PARTIAL = OpenOptions(allow_partial=True)
LAYOUTS = {
    name: max((known for known in CATALOG if name.startswith(known)), key=len)
    for name in TINY
    if not name.startswith(("fashion", "cifar"))
}


def open_tiny(name, root):
    return open_image_set(LAYOUTS[name], write_tiny(name, root), options=PARTIAL)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_images_with_their_labels(name, tmp_path):
    image_set = open_tiny(name, tmp_path / "data")
    tiny = Tiny()
    assert len(image_set.classes) == tiny.classes
    for split in ("train", "val"):
        rows = [(label, decode_rgb(image_set.storage.read(name), name)) for name, label in image_set.split(split)]
        expected = [(label, decode_rgb(data, "")) for label, _, data in tiny.images(split)]
        key = lambda row: (row[0], row[1].float().mean().item())  # noqa: E731
        for (label, image), (known_label, known_image) in zip(sorted(rows, key=key), sorted(expected, key=key), strict=True):
            assert label == known_label
            np.testing.assert_array_equal(image, known_image)


@pytest.mark.parametrize("name", [name for name, dataset in LAYOUTS.items() if CATALOG[dataset].expected is not None])
def test_an_incomplete_set_is_refused_with_counts_and_advice(name, tmp_path):
    known = CATALOG[LAYOUTS[name]]
    root = write_tiny(name, tmp_path / "data")
    with pytest.raises(DataError) as caught:
        open_image_set(LAYOUTS[name], root)
    for words in (f"12 of {known.expected.train:,} training images", str(root), known.advice, "data.allow_partial=true"):
        assert words in str(caught.value)


@pytest.mark.parametrize("dataset", CATALOG)
def test_an_empty_folder_is_answered_with_places_and_advice(dataset, tmp_path):
    with pytest.raises(DataError) as caught:
        open_image_set(dataset, tmp_path)
    for words in (str(tmp_path), CATALOG[dataset].advice, "data.root", "GCP_DATA_DIR"):
        assert words in str(caught.value)


@pytest.mark.parametrize("dataset", [name for name, entry in CATALOG.items() if entry.subfolders])
def test_a_data_set_is_found_below_the_common_folder(dataset, tmp_path):
    write_tiny(dataset, tmp_path / CATALOG[dataset].subfolders[0])
    assert len(open_image_set(dataset, tmp_path, options=PARTIAL).train) == 12


def test_published_counts_pass_without_a_word(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(CATALOG, "birds", replace(CATALOG["birds"], expected=Expected(classes=3, train=12, val=6)))
    with caplog.at_level(logging.WARNING):
        open_image_set("birds", write_tiny("birds", tmp_path / "x"))
    assert not caplog.text


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="no data set 'bird'; nearest: 'birds'"):
        open_image_set("bird", CATALOG)
    with pytest.raises(UnknownNameError, match=r"no layout of ImageNet-1k 'tars'; nearest: 'tar'; known: auto, folder"):
        open_image_set("imagenet", CATALOG, "tars")


def test_files_on_a_list_but_not_on_disk_are_named(tmp_path, caplog):
    root = write_tiny("birds", tmp_path / "x")
    gone = sorted((root / "images").rglob("*.jpg"))[0]
    gone.unlink()
    with pytest.raises(DataError, match=rf"lacks 1 of its 18 images: images/001.*{gone.name}: get CUB_200_2011.tgz"):
        open_image_set("birds", root)
    with caplog.at_level(logging.WARNING):
        assert len(open_image_set("birds", root, options=PARTIAL).train) == 11
    assert gone.name in caplog.text
