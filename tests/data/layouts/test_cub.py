"""CUB-200-2011: what a damaged set is answered with."""

import shutil

import pytest

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.tiny import write_tiny
from gcp_repro.errors import DataError

PARTIAL = OpenOptions(allow_partial=True)


class TestCub:
    def edit(self, tmp_path, name, change):
        root = write_tiny("birds", tmp_path / "x")
        path = root / name
        path.write_text(change(path.read_text()))
        return root

    @pytest.mark.parametrize(
        ("file", "change", "words"),
        [
            (
                "image_class_labels.txt",
                lambda text: text.replace("1 1\n", "1 9\n", 1),
                r"labels from 1 to 3; out of range: .*\(class 9\)",
            ),
            (
                "image_class_labels.txt",
                lambda text: text.replace("1 1\n", "1 0\n", 1),
                r"labels from 1 to 3; out of range: .*\(class 0\)",
            ),
            ("image_class_labels.txt", lambda text: text.replace("1 1\n", "1 one\n", 1), "needs whole numbers; it holds 'one'"),
            ("train_test_split.txt", lambda text: text.replace("2 1\n", "", 1), "only one of them has 2"),
            ("train_test_split.txt", lambda text: text.replace("2 1\n", "2 3\n", 1), "needs 0 or 1; image 2 has '3'"),
            ("train_test_split.txt", lambda text: text + "1 0\n", "these numbers come twice: 1"),
            ("images.txt", lambda text: text + "99\n", "needs 2 columns; row 19 is '99'"),
            ("images.txt", lambda text: text.replace("_0001_2.jpg", "_0000_1.jpg"), "listed twice for 'train'"),
        ],
    )
    def test_damaged_lists(self, tmp_path, file, change, words):
        with pytest.raises(DataError, match=words):
            open_image_set("birds", self.edit(tmp_path, file, change), options=PARTIAL)

    def test_overlapping_lists(self, tmp_path):
        root = self.edit(tmp_path, "images.txt", lambda text: text)
        lines = (root / "images.txt").read_text().splitlines()
        lines[-1] = f"18 {lines[0].split()[1]}"
        (root / "images.txt").write_text("\n".join(lines))
        with pytest.raises(DataError, match="without common images; 1 are in both"):
            open_image_set("birds", root, options=PARTIAL)

    def test_a_missing_list_is_named(self, tmp_path):
        root = write_tiny("birds", tmp_path / "x")
        (root / "train_test_split.txt").unlink()
        with pytest.raises(DataError, match=r"a text file is needed at .*train_test_split\.txt"):
            open_image_set("birds", root)

    def test_what_windows_writes_is_read(self, tmp_path):
        root = self.edit(tmp_path, "images.txt", lambda text: text)
        expected = open_image_set("birds", root, options=PARTIAL).train
        for path in root.glob("*.txt"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
        assert open_image_set("birds", root, options=PARTIAL).train == expected

    def test_a_class_folder_too_many(self, tmp_path):
        root = write_tiny("birds", tmp_path / "x")
        (root / "images" / "201.Dodo").mkdir()
        with pytest.raises(DataError, match=r"images needs folders of the 3 classes alone; it also has 201\.Dodo"):
            open_image_set("birds", root, options=PARTIAL)

    def test_more_classes_than_published_are_no_part_of_the_set(self, tmp_path):
        root = self.edit(tmp_path, "image_class_labels.txt", lambda text: text.replace("1 1\n", "1 999\n", 1))
        (root / "classes.txt").unlink()
        with pytest.raises(DataError, match=r"needs labels from 1 to 200; 999 classes are there, .* \(class 999\): get CUB"):
            open_image_set("birds", root, options=PARTIAL)

    @pytest.mark.parametrize("instead", ["nothing", "folder", "broken link"])
    def test_what_is_no_file_is_missing(self, tmp_path, instead, caplog):
        root = write_tiny("birds", tmp_path / "x")
        path = next((root / "images").glob("*/*_0001_*.jpg"))
        path.unlink()
        if instead == "folder":
            path.mkdir()
        if instead == "broken link":
            path.symlink_to(root / "nowhere")
        with pytest.raises(DataError, match=f"lacks 1 of its 18 images: .*{path.name}"):
            open_image_set("birds", root)

    def test_no_image_at_all(self, tmp_path):
        root = write_tiny("birds", tmp_path / "x")
        shutil.rmtree(root / "images")
        with pytest.raises(
            DataError, match=r"CUB-200-2011 needs 'images'; looked in .*/x is in the form 'original' but for 'images'"
        ):
            open_image_set("birds", root, options=PARTIAL)
        (root / "images").mkdir()
        with pytest.raises(DataError, match=r"on its lists 0 are there for training and 0 for evaluation, the first that is not"):
            open_image_set("birds", root, options=PARTIAL)

    def test_classes_txt_is_optional(self, tmp_path):
        root = write_tiny("birds", tmp_path / "x")
        (root / "classes.txt").unlink()
        assert open_image_set("birds", root, options=PARTIAL).classes == ("001", "002", "003")
