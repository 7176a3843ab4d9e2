"""What is lost, left over or out of place in a data set, and the words for it."""

import gzip
import os
import pickle
import shutil
import unicodedata

import pytest

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.storage import FolderStorage
from gcp_repro.data.tiny.writers import WNIDS, jpeg_bytes
from gcp_repro.errors import DataError, OptionError
from tests.fakes.image_forms import image_row, put, write_images, write_table, write_tar

PARTIAL = OpenOptions(allow_partial=True)


class TestArchivesOfClasses:
    """ImageNet's inner archives, still packed in the folder of their split, are no shards."""

    @pytest.fixture
    def root(self, tmp_path):
        for split, number in (("train", 0), ("val", 5)):
            for label, wnid in enumerate(WNIDS[:2]):
                files = {f"{wnid}_{number + image}.JPEG": jpeg_bytes(label, number + image, (8, 8)) for image in range(2)}
                write_tar(tmp_path / split / f"{wnid}.tar", files)
        return tmp_path

    @pytest.mark.parametrize("name", ["imagenet", "image_folder"])
    def test_they_are_to_be_unpacked(self, root, name):
        words = r"needs 'train/<class>/'; .*/train holds 2 archives that are still packed, n01440764\.tar, .*: unpack each"
        with pytest.raises(DataError, match=words):
            open_image_set(name, root)

    def test_one_that_is_left_beside_unpacked_ones_is_left_out(self, root, caplog):
        for split, number in (("train", 0), ("val", 5)):
            (root / split / f"{WNIDS[1]}.tar").rename(root / split / f"{WNIDS[2]}.tar")
            for label, wnid in enumerate(WNIDS[:2]):
                put(root / split / wnid / f"{number}.jpg", label, number)
        put(root / "train" / "stray.jpg", 0, 9)
        assert len(open_image_set("image_folder", root).train) == 2
        assert f"train has archives beside its class folders that were left out: {WNIDS[2]}.tar; if one holds" in caplog.text
        assert "1 files that were left out, not named as images or in no class folder: train/stray.jpg" in caplog.text

    def test_one_that_was_unpacked_is_nothing_to_speak_of(self, tmp_path, caplog):
        write_images(tmp_path, "train", "val", classes=("v1.5", "v2"))
        for name in ("v1.5.tar", "v2.tar.gz"):
            (tmp_path / "train" / name).touch()
        assert open_image_set("image_folder", tmp_path).classes == ("v1.5", "v2")
        assert not caplog.text

    def test_they_are_no_shards_of_which_a_split_is_missing(self, root):
        shutil.rmtree(root / "val")
        write_images(root, "val", classes=WNIDS[:2])
        with pytest.raises(DataError, match=rf"; looked in {root}; {root}/train holds 2 archives that are still packed") as error:
            open_image_set("imagenet", root)
        assert "webdataset" not in str(error.value)

    def test_as_shards_they_lack_labels(self, root):
        words = r"needs 'labels in \*\.tar'; .*/train/n01440764\.tar has images without \.cls or \.json: unpack it, or write"
        with pytest.raises(DataError, match=words):
            open_image_set("image_folder", root, "webdataset")


class TestWhatIsLost:
    def shards(self, root, numbers=(0, 1, 2), labels=(0, 1)):
        for split in ("train", "val"):
            for shard in numbers:
                files = {}
                for label in labels:
                    files[f"{split}{shard}{label}.jpg"] = jpeg_bytes(label, 10 * shard + len(split), (8, 8))
                    files[f"{split}{shard}{label}.cls"] = str(label).encode()
                write_tar(root / f"own-{split}-{shard:04d}.tar", files)
        return root

    def test_a_label_out_of_place(self, tmp_path):
        self.shards(tmp_path)
        write_tar(tmp_path / "own-train-0003.tar", {"x.jpg": jpeg_bytes(0, 99, (8, 8)), "x.cls": b"5"})
        words = r"has 'train' images of 3 of its 6 classes, none of 2, 3, 4; the highest label, 5, is that of train/.*/x\.jpg"
        with pytest.raises(DataError, match=words):
            open_image_set("image_folder", tmp_path)
        assert len(open_image_set("image_folder", tmp_path, classes=["0", "1"]).classes) == 6
        assert len(open_image_set("image_folder", tmp_path, options=PARTIAL).classes) == 6

    @pytest.mark.parametrize("form", ["webdataset", "list"])
    def test_only_the_classes_that_are_kept_need_images_in_both_splits(self, tmp_path, form):
        for split, labels in (("train", "012"), ("val", "01")):
            files = {f"{split}{label}": jpeg_bytes(0, int(label) + len(split), (8, 8)) for label in labels}
            rows = "".join(f"{name}.jpg {name[-1]}\n" for name in files)
            (tmp_path / f"{split}.txt").write_text(rows)
            for name, data in files.items():
                (tmp_path / f"{name}.jpg").write_bytes(data)
            members = {f"{name}.jpg": data for name, data in files.items()} | {f"{name}.cls": name[-1].encode() for name in files}
            write_tar(tmp_path / f"own-{split}-0000.tar", members)
        assert len(open_image_set("image_folder", tmp_path, form, classes=["0", "1"]).classes) == 3
        with pytest.raises(
            DataError, match="has 'val' images of 1 of its 2 classes, none of 2; the highest label, 0, is that of"
        ):
            open_image_set("image_folder", tmp_path, form, classes=["0", "2"])
        with pytest.raises(DataError, match="needs 'val' images of the classes that are kept; it has none of 2: add some"):
            open_image_set("image_folder", tmp_path, form, PARTIAL, classes=["2"])

    def test_dates_are_no_series(self, tmp_path):
        for split in ("train", "val"):
            for date in ("20230105", "20241231"):
                files = {f"{date}{split}.jpg": jpeg_bytes(0, int(date[-4:]), (8, 8)), f"{date}{split}.cls": b"0"}
                write_tar(tmp_path / f"{split}-{date}.tar", files)
        assert len(open_image_set("image_folder", tmp_path).train) == 2


class TestFoldersOfSplits:
    @pytest.mark.parametrize("names", [("train", "dev"), ("train", "eval"), ("train/train", "val/val"), ("train/train", "val")])
    def test_where_they_may_lie(self, tmp_path, names):
        assert open_image_set("image_folder", write_images(tmp_path, *names)).classes == ("a", "b")

    def test_a_class_that_is_called_as_the_split_stays_one(self, tmp_path):
        write_images(tmp_path, "train", "val", classes=("train", "tram"))
        assert open_image_set("image_folder", tmp_path).classes == ("train", "tram")

    @pytest.mark.parametrize("link", ["val", "val/a"])
    def test_a_link_to_the_training_images(self, tmp_path, link):
        write_images(tmp_path, "train", "val")
        shutil.rmtree(tmp_path / link)
        (tmp_path / link).symlink_to(tmp_path / link.replace("val", "train"))
        words = rf"need images of their own; {tmp_path}/{link} is the folder {tmp_path}/{link.replace('val', 'train')}: errors on"
        with pytest.raises(DataError, match=words):
            open_image_set("image_folder", tmp_path)

    def test_images_that_are_the_same_by_links(self, tmp_path):
        for split in ("train", "val"):
            for name in "ab":
                put(tmp_path / "all" / f"{split}{name}.jpg")
                (tmp_path / split / name).mkdir(parents=True)
                (tmp_path / split / name / "x.jpg").symlink_to(f"../../all/{split}{name}.jpg")
        image_set = open_image_set("image_folder", tmp_path)
        assert len(image_set.val) == 2
        assert len(pickle.dumps(image_set.storage)) == len(pickle.dumps(FolderStorage(tmp_path)))  # each worker gets one
        (tmp_path / "val" / "b" / "y.jpg").symlink_to(tmp_path / "all" / "trainb.jpg")
        for options in (None, PARTIAL):
            with pytest.raises(DataError, match=r"1 are the same file: val/b/y\.jpg is train/b/x\.jpg: .* divide the images"):
                open_image_set("image_folder", tmp_path, options=options)

    def test_accents_are_the_same_in_both_their_forms(self, tmp_path):
        write_images(tmp_path, "train", classes=(unicodedata.normalize("NFC", "café"), "b"))
        write_images(tmp_path, "val", classes=(unicodedata.normalize("NFD", "café"), "b"))
        assert open_image_set("image_folder", tmp_path).classes == ("b", "café")

    @pytest.mark.parametrize(("train", "val"), [("Cat", "cat"), ("cat ", "cat")])
    def test_names_that_differ_in_little(self, tmp_path, train, val):
        write_images(tmp_path, "train", classes=(train, "dog"))
        write_images(tmp_path, "val", classes=(val, "dog"))
        with pytest.raises(DataError, match=f"it also has '{val}', which is '{train}' in training: remove or rename"):
            open_image_set("image_folder", tmp_path)

    def test_classes_that_differ_in_little(self, tmp_path, caplog):
        write_images(tmp_path, "train", "val", classes=("Cat", "cat", "dog"))
        assert len(open_image_set("image_folder", tmp_path).classes) == 3
        assert "has classes whose names are the same but for case or blanks: 'Cat' and 'cat'" in caplog.text

    @pytest.mark.parametrize("name", ["./train", "train/", "val/../train", "{root}/train"])
    def test_one_folder_in_two_spellings_is_in_both_splits(self, tmp_path, name):
        write_images(tmp_path, "train", "val")
        options = OpenOptions(train_split=("train",), val_split=(name.format(root=tmp_path),))
        with pytest.raises(DataError, match=r"without common images; 4 are in both: train/a/0_0\.jpg"):
            open_image_set("image_folder", tmp_path, options=options)

    @pytest.mark.parametrize("options", [OpenOptions(), OpenOptions(train_split=("seg_train",), val_split=("seg_test",))])
    def test_a_folder_in_one_of_its_name_is_entered(self, tmp_path, options):
        names = [(*options.train_split, "train")[0], (*options.val_split, "val")[0]]
        write_images(tmp_path, *(f"{name}/{name}" for name in names))
        assert open_image_set("image_folder", tmp_path, options=options).train[0][0] == f"{names[0]}/{names[0]}/a/0_0.jpg"

    def test_a_class_that_is_a_link_to_nothing(self, tmp_path):
        write_images(tmp_path, "train", "val")
        for split in ("val", "train"):
            shutil.rmtree(tmp_path / split / "b")
            (tmp_path / split / "b").symlink_to("/mnt/gone/b")
            (tmp_path / split / "notes.txt").symlink_to("/mnt/gone/notes.txt")
        words = (
            r"class folder is needed at .*/train/b; it is a link to /mnt/gone/b, which is not there: bring back what it leads to"
        )
        with pytest.raises(DataError, match=words):
            open_image_set("image_folder", tmp_path)
        (tmp_path / "train" / "b").unlink()
        (tmp_path / "val" / "b").unlink()
        assert open_image_set("image_folder", tmp_path).classes == ("a",)

    def test_one_class_alone_is_worth_a_word(self, tmp_path, caplog):
        write_images(tmp_path, "train", "val", classes=("images",))
        assert len(open_image_set("image_folder", tmp_path).train) == 2
        assert "has one class alone, images: every answer will be right" in caplog.text

    @pytest.mark.parametrize("name", ["path_column", "label_column", "split_column"])
    def test_columns_of_folders(self, tmp_path, name):
        write_images(tmp_path, "train", "val")
        with pytest.raises(OptionError, match=rf"data\.{name} needs a form with such a column; .*/train with .*/val is read"):
            open_image_set("image_folder", tmp_path, options=OpenOptions(**{name: "noisy_labels_50"}))

    def test_what_programs_leave_is_no_class(self, tmp_path):
        write_images(tmp_path, "train", "val")
        for name in (".ipynb_checkpoints", "__pycache__", "__MACOSX"):
            put(tmp_path / "train" / name / "x.jpg")
        assert open_image_set("image_folder", tmp_path).classes == ("a", "b")


class TestWordsForWhatIsThere:
    def test_a_pipe_in_an_images_place_is_not_waited_for(self, tmp_path):
        write_images(tmp_path, "train", "val")
        os.mkfifo(tmp_path / "train" / "a" / "x.jpg")
        with pytest.raises(DataError, match=r"lacks 1 of its 9 images: train/a/x\.jpg: mend the list, or put the images where"):
            open_image_set("image_folder", tmp_path)

    def test_a_compressed_shard_under_the_name_of_another(self, tmp_path):
        for split in ("train", "val"):
            (tmp_path / f"{split}-0.tar").write_bytes(gzip.compress(bytes(10240)))
        with pytest.raises(DataError, match=r"train-0\.tar is none \(it is compressed by gzip\): decompress it"):
            open_image_set("image_folder", tmp_path)

    def test_a_label_that_is_cut_off(self, tmp_path):
        for split in ("train", "val"):
            files = {f"{split}.jpg": jpeg_bytes(0, len(split), (8, 8)), f"{split}.json": b'{"label": 1'}
            write_tar(tmp_path / f"{split}-0.tar", files)
        with pytest.raises(DataError, match=r"train-0\.tar needs JSON in train\.json; it is none \("):
            open_image_set("image_folder", tmp_path)

    @pytest.mark.parametrize(
        ("name", "content", "words"),
        [
            (
                "split.json",
                b'{"train": ["a/1.jpg"]}',
                r"split\.json needs to be a list with a row an image; it is JSON",
            ),
            ("x.jpg", jpeg_bytes(0, 0, (8, 8)), r"a text file is needed at .*/x\.jpg; it is another kind of file: name one"),
            ("own.parquet", b"PAR1", r"whole shard is needed; reading .*/own\.parquet gave"),
        ],
    )
    def test_a_split_of_another_kind(self, tmp_path, name, content, words):
        write_images(tmp_path, "val")
        for split in ("own", "other"):
            (tmp_path / name.replace("own", split)).write_bytes(content)
        options = OpenOptions(train_split=(name,), val_split=(name.replace("own", "other") if "own" in name else "val",))
        with pytest.raises(DataError, match=words):
            open_image_set("image_folder", tmp_path, options=options)

    def test_shards_and_tables_may_be_named_themselves(self, tmp_path):
        for number, name in enumerate(("mine.tar", "yours.tar")):
            write_tar(tmp_path / name, {"0.jpg": jpeg_bytes(0, number, (8, 8)), "0.cls": b"0"})
            write_table(tmp_path / name.replace(".tar", ".parquet"), [image_row(0, number=number)])
        for suffix in ("tar", "parquet"):
            options = OpenOptions(train_split=(f"mine.{suffix}",), val_split=(f"yours.{suffix}",))
            assert len(open_image_set("image_folder", tmp_path, options=options).train) == 1
