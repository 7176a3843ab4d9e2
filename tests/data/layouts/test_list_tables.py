"""The rows of lists: in which order, with which separators, numbers and quotes people write them."""

import shutil

import pytest

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.errors import DataError
from tests.fakes.image_forms import put


class TestRowsAsPeopleWriteThem:
    """One list, whose rows say the same in many ways."""

    @pytest.fixture
    def root(self, tmp_path):
        for number in range(3):
            put(tmp_path / "n" / f"{number}.jpg", 0, number)
        return tmp_path

    def opened(self, root, suffix, rows, val=None):
        (root / f"train{suffix}").write_text("\n".join(rows[:2]), encoding="utf-8")
        (root / f"val{suffix}").write_text("\n".join(val or rows), encoding="utf-8")
        keep = OpenOptions(val_split=(f"val{suffix}",))
        for name in ("0.jpg", "1.jpg"):
            shutil.copy(root / "n" / name, root / "n" / f"val_{name}")
        text = (root / f"val{suffix}").read_text(encoding="utf-8").replace("n/", "n/val_")
        (root / f"val{suffix}").write_text(text, encoding="utf-8")
        return open_image_set("image_folder", root, "list", keep)

    @pytest.mark.parametrize(
        ("suffix", "rows"),
        [
            (".lst", ["7\t1.000000\tn/0.jpg", "8\t0.000000\tn/1.jpg"]),  # im2rec of MXNet
            (".txt", ["1 n/0.jpg", "0 n/1.jpg"]),
            (".tsv", ["1\tn/0.jpg", "0\tn/1.jpg"]),
            (".csv", ["1,n/0.jpg", "0,n/1.jpg"]),
            (".csv", ["0,n/0.jpg,1", "1,n/1.jpg,0"]),  # pandas without a header
            (".csv", ["n/0.jpg,1.0", "n/1.jpg,0.0"]),  # pandas with holes
            (".csv", ["n/0.jpg, 01", "n/1.jpg, 00"]),
            (".txt", ["n/0.jpg 1.000000000000000000e+00", "n/1.jpg 0.000000000000000000e+00"]),  # numpy.savetxt
        ],
    )
    def test_where_the_label_stands_and_how_it_is_written(self, root, suffix, rows):
        image_set = self.opened(root, suffix, rows)
        assert image_set.train == [("n/0.jpg", 1), ("n/1.jpg", 0)]
        assert image_set.val == [("n/val_0.jpg", 1), ("n/val_1.jpg", 0)]
        assert image_set.classes == ("0", "1")

    def test_what_is_no_whole_number_stays_a_name(self, root):
        assert self.opened(root, ".csv", ["n/0.jpg,1.5", "n/1.jpg,1e0"]).classes == ("1.5", "1e0")

    def test_numbers_and_names_are_worth_a_word(self, root, caplog):
        assert self.opened(root, ".csv", ["n/0.jpg,nan", "n/1.jpg,1.0"]).classes == ("1.0", "nan")
        assert "train.csv has labels that are whole numbers and others, nan: all are taken for names" in caplog.text

    def test_numbers_do_not_count_names(self, root):
        with pytest.raises(DataError, match=r"needs the 2 classes of the training images; it also has 0, 1: mend the list"):
            self.opened(root, ".csv", ["n/0.jpg,cat", "n/1.jpg,dog"], ["n/0.jpg,0", "n/1.jpg,1"])

    def test_two_spellings_of_one_number_are_refused(self, root):
        with pytest.raises(DataError, match=r"val\.txt needs one spelling of each number; it has 007, 7: write one of them"):
            self.opened(root, ".txt", ["n/0.jpg 007", "n/1.jpg 7"])

    def test_numbers_of_something_else_are_refused(self, root):
        with pytest.raises(
            DataError, match=r"train\.csv needs labels below 1,000,000; it holds 20231105123: write names, number the classes"
        ):
            self.opened(root, ".csv", ["n/0.jpg,20231105123", "n/1.jpg,0"])
