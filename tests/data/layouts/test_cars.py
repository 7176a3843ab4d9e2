"""Stanford Cars, both forms: what a damaged set is answered with."""

import shutil

import pytest
from scipy.io import loadmat, savemat

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.tiny import write_tiny
from gcp_repro.errors import DataError

PARTIAL = OpenOptions(allow_partial=True)


class TestCars:
    @pytest.mark.parametrize(
        ("field", "value", "words"),
        [
            ("class", "BMW", "needs whole numbers; it holds 'BMW'"),
            ("class", 197, r"out of range: car_ims/000001\.jpg \(class 197\)"),
            ("test", 3, r"needs 0 or 1 in the field 'test'; car_ims/000001\.jpg has 3"),
        ],
    )
    def test_fields_that_cannot_be_right(self, tmp_path, field, value, words):
        root = write_tiny("cars_car_ims", tmp_path / "x")
        content = loadmat(root / "cars_annos.mat")
        content["annotations"][0, 0][field] = value
        savemat(root / "cars_annos.mat", {name: content[name] for name in ("annotations", "class_names")})
        with pytest.raises(DataError, match=words):
            open_image_set("cars", root, options=PARTIAL)

    def test_the_file_without_labels_is_refused(self, tmp_path):
        root = write_tiny("cars", tmp_path / "x")
        shutil.copy(root / "devkit" / "cars_test_annos.mat", root / "cars_test_annos_withlabels.mat")
        with pytest.raises(
            DataError, match=r"needs the field 'class' in 'annotations'; it has bbox_x1, .*the file without labels"
        ):
            open_image_set("cars", root, options=PARTIAL)

    def test_missing_test_labels_say_where_they_were_looked_for(self, tmp_path):
        root = write_tiny("cars", tmp_path / "x")
        path = root / "cars_test_annos_withlabels.mat"
        shutil.move(path, root / "devkit")
        assert len(open_image_set("cars", root, options=PARTIAL).val) == 6
        (root / "devkit" / path.name).unlink()
        with pytest.raises(DataError, match=rf"looked for {path} and .*devkit/{path.name}"):
            open_image_set("cars", root, options=PARTIAL)
