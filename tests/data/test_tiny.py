import pytest

from gcp_repro.data import ImageFilesDataModule
from gcp_repro.data.tiny import TINY, Tiny, tiny_root, write_tiny
from gcp_repro.errors import OptionError, UnknownNameError


def contents(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_same_arguments_give_the_same_images(tmp_path):
    first, second = (
        contents(write_tiny("birds", tmp_path / name, Tiny(classes=2, train=1, val=1, size=(8, 8)))) for name in "ab"
    )
    assert first == second
    assert len([name for name in first if name.endswith(".jpg")]) == 4


def test_a_used_folder_and_wrong_sizes_are_refused(tmp_path):
    (tmp_path / "file").write_text("precious")
    with pytest.raises(OptionError, match=rf"needs an empty folder; {tmp_path} holds files"):
        write_tiny("birds", tmp_path)
    for tiny in (Tiny(classes=5), Tiny(train=0), Tiny(size=(0, 1))):
        with pytest.raises(OptionError, match="needs 1 to 4 classes and at least 1 image and pixel"):
            write_tiny("birds", tmp_path / "x", tiny)
    with pytest.raises(UnknownNameError, match="no tiny data set 'bird'; nearest: 'birds'"):
        write_tiny("bird", tmp_path / "x")


def test_imagenet_may_have_more_classes(tmp_path):
    root = write_tiny("imagenet_tar", tmp_path / "tar", Tiny(classes=20, train=1, val=1, size=(4, 4)))
    data = ImageFilesDataModule(dataset="imagenet", root=root, allow_partial=True, num_workers=0)
    assert (data.num_classes, len(set(data.class_names))) == (20, 20)
    with pytest.raises(OptionError, match="needs 1 to 20 classes"):
        write_tiny("imagenet", tmp_path / "x", Tiny(classes=21))


def test_the_cached_set_is_written_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    root = tiny_root("aircraft")
    marker = root / "marker"
    marker.write_text("x")
    assert tiny_root("aircraft") == root
    assert marker.exists()
    assert [path.name for path in root.parent.iterdir()] == ["aircraft"]


def test_known_layouts():
    assert {"imagenet", "birds", "dogs", "cars", "aircraft", "image_folder", "fashion_mnist"} <= TINY.keys()
