"""Tables and shards of which some are missing by their numbers, and gaps that are meant."""

import pytest

from gcp_repro.data.layouts.series import missing_files
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.tiny.writers import jpeg_bytes
from gcp_repro.errors import DataError
from tests.fakes.image_forms import image_row, write_table, write_tar

PARTIAL = OpenOptions(allow_partial=True)


def write(root, *names):
    """Shards or tables of one image each, of one class."""
    for number, name in enumerate(names):
        if name.endswith(".parquet"):
            write_table(root / name, [image_row(0, number=number)])
        else:
            write_tar(root / name, {f"{number}.jpg": jpeg_bytes(0, number, (8, 8)), f"{number}.cls": b"0"})
    return root


def sizes(root, **options):
    image_set = open_image_set("image_folder", root, options=OpenOptions(**options))
    return len(image_set.train), len(image_set.val)


class TestAStatedNumber:
    @pytest.mark.parametrize("suffix", [".tar", ".parquet", "-a0b1.parquet"])
    def test_a_file_is_missing(self, tmp_path, suffix, caplog):
        write(tmp_path, *(f"train-0000{number}-of-00003{suffix}" for number in (0, 2)), f"val-00000-of-00001{suffix}")
        words = r"lacks train-00001-of-00003\.\w+, going by the names of the others: fetch what is missing; or set data\.allow"
        with pytest.raises(DataError, match=words):
            sizes(tmp_path)
        assert sizes(tmp_path, allow_partial=True) == (2, 1)
        assert "lacks train-00001-of-00003" in caplog.text

    def test_it_may_count_from_one(self, tmp_path):
        write(tmp_path, "val-00001-of-00001.tar", *(f"train-0000{number}-of-00003.tar" for number in (1, 2, 3)))
        assert sizes(tmp_path) == (3, 1)
        (tmp_path / "train-00002-of-00003.tar").unlink()
        with pytest.raises(DataError, match=r"lacks train-00002-of-00003\.tar, going by"):
            sizes(tmp_path)

    def test_the_splits_may_share_it(self, tmp_path):
        write(tmp_path, "own-0-of-3-train.tar", "own-1-of-3-val.tar", "own-2-of-3-train.tar")
        assert sizes(tmp_path) == (2, 1)

    def test_files_that_are_named_are_all_that_is_asked_for(self, tmp_path):
        write(tmp_path, "train-00000-of-00294.tar", *(f"fold-{number}-of-5.tar" for number in range(3)))
        names = {"train_split": ("train-00000-of-00294.tar", "fold-0-of-5.tar"), "val_split": ("fold-2-of-5.tar",)}
        assert sizes(tmp_path, **names) == (2, 1)

    def test_a_file_that_is_there_is_not_missing(self, tmp_path):
        write(tmp_path, *(f"fold-{number}-of-3.tar" for number in range(3)))
        assert sizes(tmp_path, train_split=("0",), val_split=("1",)) == (1, 1)


class TestGaps:
    @pytest.mark.parametrize(
        "names",
        [
            [f"shard-000{number}-{'val' if number % 5 == 4 else 'train'}.tar" for number in range(10)],
            ["train-2015.tar", "train-2019.tar", "val-0.tar"],
            ["train-3.parquet", "train-8.parquet", "val-0.parquet"],
            ["train-000000.tar", "train-001000.tar", "train-002000.tar", "val-0.tar"],
        ],
    )
    def test_they_are_meant(self, tmp_path, names, caplog):
        train = sum("train" in name for name in names)
        assert sizes(write(tmp_path, *names)) == (train, len(names) - train)
        assert "fetch" not in caplog.text

    def test_named_folds(self, tmp_path):
        write(tmp_path, *(f"fold{number}.tar" for number in range(5)))
        for end in (".tar", ""):
            train = tuple(f"fold{number}{end}" for number in (0, 1, 3, 4))
            assert sizes(tmp_path, train_split=train, val_split=(f"fold2{end}",)) == (4, 1)

    @pytest.mark.parametrize("name", ["own-{}-{:04d}.tar", "{}/{:04d}.parquet"])
    def test_one_among_many_is_worth_a_word(self, tmp_path, name, caplog):
        write(tmp_path, *(name.format("train", number) for number in (0, 2, 3)), name.format("val", 0))
        assert sizes(tmp_path) == (3, 1)
        words = f"has no {name.format('train', 1)} between files that are numbered alike; fetch what belongs to the data set"
        assert caplog.text.count(words) == 1


@pytest.mark.parametrize(("numbers", "gaps"), [((8, 10), 1), ((8, 11), 0), ((0, 1, 2, 5), 2), ((0, 1, 5), 0)])
def test_where_a_gap_is_named(numbers, gaps):
    stated, between = missing_files(f"x-{number:02d}.tar" for number in numbers)
    assert (len(stated), len(between)) == (0, gaps)
