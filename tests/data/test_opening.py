"""What is taken for images, and folders of whatever name."""

import pytest

from gcp_repro.data.arrays import ARRAY_SETS, ArrayDataModule
from gcp_repro.data.catalog import CATALOG
from gcp_repro.data.image_files import ImageFilesDataModule
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.tiny import TINY, write_tiny


def test_what_servers_leave_is_no_image_and_unknown_suffixes_are_counted(tmp_path, caplog):
    root = write_tiny("image_folder", tmp_path / "x")
    folder = root / "train" / "class_0"
    for name in ("@eaDir", "__MACOSX", "#recycle"):
        (folder / name).mkdir()
        (folder / name / "0000.jpg").write_bytes((folder / "0000.jpg").read_bytes())
    assert len(open_image_set("image_folder", root).train) == 12
    assert "left out" not in caplog.text
    for name in ("a.jxl", "b.JPEG.part", "Thumbs.db", "notes.txt"):
        (folder / name).write_text("x")
    for name in ("c.avif", "d.JFIF", "e.jpe", "f.heic"):
        (folder / name).write_bytes((folder / "0000.jpg").read_bytes())
    assert len(open_image_set("image_folder", root).train) == 16
    assert "has 2 files that were left out, not named as images or in no class folder: train/class_0/" in caplog.text


def test_each_split_has_one_spelling(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert OpenOptions(train_split=("./a/", "b/../c", "~/d"), val_split=("",)) == (
        OpenOptions(train_split=("a", "c", f"{tmp_path}/d"))
    )


NAMES = ("set[1]", "run_*", "@x::y", "{a,b}a%d", "~x#y", "-x ", "file:x", "a{0..1}")


@pytest.mark.parametrize("name", [name for name in TINY if name not in ARRAY_SETS])
def test_a_folder_is_the_one_of_that_name_whatever_it_is_called(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    dataset = max((known for known in CATALOG if name.startswith(known)), key=len)
    for folder in NAMES:
        write_tiny(name, tmp_path / folder)
        for root in (folder, str(tmp_path / folder)):
            module = ImageFilesDataModule(dataset, root, allow_partial=True)
            image_set = module.image_set
            assert (len(image_set.train), len(image_set.val)) == (12, 6)
            assert image_set.storage.read(image_set.train[0][0])


@pytest.mark.parametrize("name", ["fashion_mnist", "cifar10"])
def test_a_folder_of_arrays_likewise(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    for folder in NAMES:
        write_tiny(name, tmp_path / folder)
        data = ArrayDataModule(name, folder, allow_partial=True)
        data.setup("fit")
        assert len(data.make_dataset("train")) == 12
