"""Stanford Dogs: what a damaged set is answered with."""

import shutil

import pytest
from scipy.io import loadmat, savemat

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.tiny import write_tiny
from gcp_repro.errors import DataError

PARTIAL = OpenOptions(allow_partial=True)


class TestDogs:
    def test_lists_beside_images(self, tmp_path):
        root = write_tiny("dogs", tmp_path / "x")
        for path in (root / "lists").iterdir():
            shutil.move(path, root)
        (root / "lists").rmdir()
        assert len(open_image_set("dogs", root, options=PARTIAL).val) == 6

    def test_damaged_lists(self, tmp_path):
        root = write_tiny("dogs", tmp_path / "x")
        path = root / "lists" / "test_list.mat"
        content = loadmat(path)
        savemat(path, {"file_list": content["file_list"], "labels": content["labels"][::-1]})
        with pytest.raises(
            DataError, match=r"needs one folder a class; class 3 of the lists in .* has n02085936-.* and n02085620-"
        ):
            open_image_set("dogs", root, options=PARTIAL)
        savemat(path, {"file_list": content["file_list"], "labels": content["labels"][:2]})
        with pytest.raises(DataError, match="6 files and 2 labels"):
            open_image_set("dogs", root, options=PARTIAL)
        path.write_bytes(b"no MATLAB file")
        with pytest.raises(DataError, match=r"a MATLAB file is needed at .*test_list\.mat"):
            open_image_set("dogs", root, options=PARTIAL)
        shutil.copy(root / "lists" / "train_list.mat", path)
        with pytest.raises(DataError, match="without common images; 12 are in both"):
            open_image_set("dogs", root, options=PARTIAL)

    @pytest.mark.parametrize(
        ("label", "words"),
        [
            (0, r"needs labels from 1 to 120; out of range: .*\(class 0\)"),
            (121, r"needs labels from 1 to 120; out of range: .*\(class 121\)"),
            (7, "folder n02085620-Chihuahua of the lists in .* has classes 7 and 1"),
            (1.5, r"needs whole numbers; it holds 1\.5"),
            (float("nan"), "needs whole numbers; it holds nan"),
        ],
    )
    def test_labels_that_cannot_be_right(self, tmp_path, label, words):
        root = write_tiny("dogs", tmp_path / "x")
        path = root / "lists" / "train_list.mat"
        content = loadmat(path)
        labels = content["labels"].astype(float)
        labels[0] = label
        savemat(path, {"file_list": content["file_list"], "labels": labels})
        with pytest.raises(DataError, match=words):
            open_image_set("dogs", root, options=PARTIAL)

    def test_a_class_folder_too_many(self, tmp_path):
        root = write_tiny("dogs", tmp_path / "x")
        (root / "Images" / "n99999999-wolf").mkdir()
        with pytest.raises(DataError, match="Images needs folders of the 3 classes alone; it also has n99999999-wolf"):
            open_image_set("dogs", root, options=PARTIAL)
