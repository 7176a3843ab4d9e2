"""Folders of images: how splits and classes are found, and what is refused."""

import os
import shutil
from pathlib import Path

import pytest

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.tiny import write_tiny
from gcp_repro.data.tiny.writers import jpeg_bytes
from gcp_repro.errors import DataError

PARTIAL = OpenOptions(allow_partial=True)


class TestFolders:
    def test_links_are_followed_but_not_in_circles(self, tmp_path):
        root = write_tiny("image_folder", tmp_path / "x")
        (root / "train").rename(root / "elsewhere")
        (root / "train").symlink_to(root / "elsewhere")
        (root / "train" / "class_0" / "loop").symlink_to(root / "train")
        assert len(open_image_set("image_folder", root).train) == 12

    def test_links_that_lead_to_each_other_end(self, tmp_path):
        root = write_tiny("image_folder", tmp_path / "x")
        (root / "train" / "class_0" / "other").symlink_to(root / "train" / "class_1")
        (root / "train" / "class_1" / "other").symlink_to(root / "train" / "class_0")
        assert len(open_image_set("image_folder", root).train) == 12 + 4 + 4

    def test_a_link_to_itself_is_a_missing_image(self, tmp_path):
        root = write_tiny("image_folder", tmp_path / "x")
        (root / "train" / "class_0" / "self.jpg").symlink_to(root / "train" / "class_0" / "self.jpg")
        with pytest.raises(DataError, match=r"lacks 1 of .*self\.jpg"):
            open_image_set("image_folder", root)

    def test_a_name_that_is_no_text_can_be_written_to_logs(self, tmp_path):
        root = write_tiny("image_folder", tmp_path / "x")
        (root / "train" / "class_0" / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"")
        image_set = open_image_set("image_folder", root)
        (name,) = [name for name, _ in image_set.train if "caf" in name]
        assert image_set.storage.read(name) == b""
        assert image_set.storage.locate(name) == f"{root}/train/class_0/caf\\xe9.jpg"
        image_set.storage.locate(name).encode()

    def test_a_folder_that_cannot_be_listed(self, tmp_path, monkeypatch):
        root = write_tiny("image_folder", tmp_path / "x")
        scandir = os.scandir

        def refuse(path):
            if Path(path).name == "class_1":
                raise PermissionError(13, "Permission denied")
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(DataError, match=r"a folder that can be listed is needed; .*class_1 cannot be \(Permission denied\)"):
            open_image_set("image_folder", root)

    def test_a_class_folder_too_many(self, tmp_path):
        root = write_tiny("image_folder", tmp_path / "x")
        extra = root / "val" / "class_x"
        extra.mkdir()
        with pytest.raises(DataError, match=r"val needs folders of the 3 classes alone; it also has class_x"):
            open_image_set("image_folder", root)
        extra.rename(root / "train" / "class_x")
        with pytest.raises(DataError, match=r"each class folder needs images; .*train/class_x has none"):
            open_image_set("image_folder", root)
        shutil.copytree(root / "train" / "class_0", root / "train" / "class_x", dirs_exist_ok=True)
        with pytest.raises(DataError, match=r"has 'val' images of 3 of its 4 classes, none of class_x; .*: add images"):
            open_image_set("image_folder", root)

    def test_evaluation_images_are_needed_and_may_be_called_test(self, tmp_path):
        root = write_tiny("image_folder", tmp_path / "x")
        (root / "val").rename(root / "test")
        assert len(open_image_set("image_folder", root).val) == 6
        shutil.rmtree(root / "test")
        with pytest.raises(DataError, match=r"evaluation needs images of its own; .*x has train and none of val, valid, "):
            open_image_set("image_folder", root)

    def test_hidden_and_other_files_are_not_images(self, tmp_path):
        root = write_tiny("image_folder", tmp_path / "x")
        for name in ("._0000.jpg", "notes.txt", ".DS_Store"):
            (root / "train" / "class_0" / name).write_text("x")
        (root / "train" / ".cache").mkdir()
        nested = root / "train" / "class_0" / "more"
        nested.mkdir()
        (nested / "x.PNG").write_bytes(jpeg_bytes(0, 0, (8, 8)))
        assert len(open_image_set("image_folder", root).train) == 13
