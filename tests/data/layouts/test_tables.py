"""Columns of tables, and labels of shards, of whatever kind they are."""

import shutil
import tarfile

import datasets
import pyarrow as pa
import pytest
from pyarrow import parquet

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.tiny.writers import jpeg_bytes
from gcp_repro.errors import DataError
from tests.fakes.image_forms import image_row, write_table, write_tar


def images(split):
    rows = [{"bytes": jpeg_bytes(number, number + len(split), (8, 8)), "path": f"{split}{number}.jpg"} for number in range(2)]
    return pa.array(rows)


def write_tables(root, labels, make_images=images):
    for split in ("train", "val"):
        parquet.write_table(pa.table({"image": make_images(split), "label": labels}), root / f"{split}.parquet")
    return root


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (pa.array(["x", "y"]).dictionary_encode(), ("x", "y")),
        (pa.array([0, 1]).dictionary_encode(), ("0", "1")),
        (pa.array([0.0, 1.0]), ("0", "1")),
        (pa.array([False, True]), ("False", "True")),
        (pa.array([" x ", "y"], pa.large_string()), ("x", "y")),
        (pa.array([0, 1], pa.uint8()), ("0", "1")),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_kinds_of_labels(tmp_path, labels, classes):
    image_set = open_image_set("image_folder", write_tables(tmp_path, labels))
    assert (image_set.classes, image_set.train) == (classes, [("train/0", 0), ("train/1", 1)])


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (pa.array([0.5, 1.0]), r"needs a whole number or a name as each label; it holds 0\.5"),
        (pa.array([0, None]), r"needs a whole number or a name as each label; it holds None"),
        (pa.array([[0], [1]]), r"needs a whole number or a name as each label; the column 'label' holds list<.*: name another"),
        (pa.array([b"x", b"y"]), r"the column 'label' holds binary: name another column by data\.label_column"),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_what_is_no_label(tmp_path, labels, words):
    with pytest.raises(DataError, match=words):
        open_image_set("image_folder", write_tables(tmp_path, labels))


@pytest.mark.parametrize(
    "column",
    [
        pa.array(["a.jpg", "b.jpg"]),
        pa.array([{"bytes": None, "path": "a.jpg"}] * 2, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        pa.array([[[1, 2], [3, 4]]] * 2),
    ],
    ids=lambda column: str(column.type),
)
def test_what_is_no_image(tmp_path, column):
    words = r"train\.parquet needs the bytes of images in the column 'image', .*: write the files with the images in them"
    with pytest.raises(DataError, match=words):
        open_image_set("image_folder", write_tables(tmp_path, pa.array([0, 1]), lambda split: column))


def test_an_image_without_bytes_before_others(tmp_path):
    def some(split):
        return pa.array([{"bytes": None, "path": "a.jpg"}, *images(split).to_pylist()[1:]])

    assert len(open_image_set("image_folder", write_tables(tmp_path, pa.array([0, 1]), some)).train) == 2


def test_a_table_without_rows(tmp_path):
    write_tables(tmp_path, pa.array([0, 1]))
    table = parquet.read_table(tmp_path / "val.parquet")
    parquet.write_table(table.slice(0, 0), tmp_path / "val.parquet")
    with pytest.raises(DataError, match=r"images are needed for 'val'; .*/val\.parquet has no rows"):
        open_image_set("image_folder", tmp_path)


def test_a_table_that_is_damaged_in_the_middle(tmp_path):
    path = write_tables(tmp_path, pa.array([0, 1])) / "train.parquet"
    data = path.read_bytes()
    path.write_bytes(data[:40] + bytes(200) + data[240:])
    with pytest.raises(DataError, match=r"whole shard is needed; reading .*/train\.parquet gave \w+: .*: check its address"):
        open_image_set("image_folder", tmp_path)


def test_another_table_of_a_split_without_the_column(tmp_path):
    write_tables(tmp_path, pa.array([0, 1]))
    (tmp_path / "train.parquet").rename(tmp_path / "train-0.parquet")
    parquet.write_table(pa.table({"image": images("more"), "target": [0, 1]}), tmp_path / "train-1.parquet")
    with pytest.raises(DataError, match=r"\A[^ ]*/train-1\.parquet needs a column 'label or .*, or is it another table\?\Z"):
        open_image_set("image_folder", tmp_path)


def test_names_in_one_split_and_numbers_in_the_other(tmp_path):
    write_tables(tmp_path, pa.array(["x", "y"]))
    parquet.write_table(pa.table({"image": images("val"), "label": [0, 1]}), tmp_path / "val.parquet")
    with pytest.raises(DataError, match=r"needs the 2 classes of the training images; it also has 0, 1: mend the list"):
        open_image_set("image_folder", tmp_path)


def test_each_table_names_its_classes_alike(tmp_path):
    for file, names in (("train-0", "ab"), ("train-1", "ba"), ("val-0", "ab")):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=list(names))})
        rows = [image_row(label, number=label + 3 * int(file[-1]) + len(file)) for label in range(2)]
        write_table(tmp_path / f"{file}.parquet", rows, features)
    words = r"/train-1\.parquet needs the classes of .*/train-0\.parquet in their order; they have other names or another order"
    with pytest.raises(DataError, match=words):
        open_image_set("image_folder", tmp_path)


@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
@pytest.mark.parametrize("copy", ["train-1", "val-1"])
def test_a_copy_of_a_table_or_shard(tmp_path, suffix, copy):
    for number, split in enumerate(("train", "val")):
        write_tar(tmp_path / f"{split}-0.tar", {"0.jpg": jpeg_bytes(0, number, (8, 8)), "0.cls": b"0"})
        write_table(tmp_path / f"{split}-0.parquet", [image_row(0, number=number)])
    layout = {".tar": "webdataset", ".parquet": "parquet"}[suffix]
    assert len(open_image_set("image_folder", tmp_path, layout).train) == 1
    shutil.copy(tmp_path / f"train-0{suffix}", tmp_path / f"{copy}{suffix}")
    words = rf"/{copy}\{suffix} is a copy of .*/train-0\{suffix}: remove one of the two"
    for options in (None, OpenOptions(allow_partial=True)):
        with pytest.raises(DataError, match=words):
            open_image_set("image_folder", tmp_path, layout, options)


class TestShards:
    def write(self, root, suffix, label):
        for split in ("train", "val"):
            files = {f"{split}.JPG": jpeg_bytes(0, len(split), (8, 8)), f"{split}{suffix}": label}
            write_tar(root / f"{split}-0.tar", files)
        return root

    @pytest.mark.parametrize(
        ("suffix", "label", "classes"),
        [
            (".CLS", b"0\r\n", ("0",)),
            (".cls", b"0.0", ("0",)),
            (".json", b'{"label": 0.0}', ("0",)),
            (".Json", b'{"label": "cat"}', ("cat",)),
        ],
    )
    def test_labels(self, tmp_path, suffix, label, classes):
        assert open_image_set("image_folder", self.write(tmp_path, suffix, label)).classes == classes

    def test_labels_after_all_images(self, tmp_path):
        for split in ("train", "val"):
            files = {f"{number}.jpg": jpeg_bytes(0, number + len(split), (8, 8)) for number in range(120)}
            write_tar(tmp_path / f"{split}-0.tar", files | {f"{number}.cls": b"0" for number in range(120)})
        assert len(open_image_set("image_folder", tmp_path).train) == 120

    def test_a_label_by_another_key(self, tmp_path):
        self.write(tmp_path, ".json", b'{"id": 7, "kind": "cat"}')
        words = r"train\.JPG has none, its \.json has id, kind: name the label's key by data\.label_column, or write the shards"
        with pytest.raises(DataError, match=words):
            open_image_set("image_folder", tmp_path)
        assert open_image_set("image_folder", tmp_path, options=OpenOptions(label_column="kind")).classes == ("cat",)

    def test_a_key_that_is_named_is_binding(self, tmp_path):
        for split in ("train", "val"):
            files = {f"{split}0.jpg": jpeg_bytes(0, len(split), (8, 8)), f"{split}0.cls": b"1", f"{split}0.json": b'{"fine": 0}'}
            write_tar(tmp_path / f"{split}-0.tar", files)
        assert open_image_set("image_folder", tmp_path, options=OpenOptions(label_column="fine")).classes == ("0",)
        assert open_image_set("image_folder", tmp_path).classes == ("1",)
        words = r"needs the label 'finee' in a \.json file for each image; train0\.jpg has none, its \.json has fine: name"
        with pytest.raises(DataError, match=words):
            open_image_set("image_folder", tmp_path, options=OpenOptions(label_column="finee"))

    def test_a_named_key_in_some_samples_alone(self, tmp_path):
        files = {}
        for number in range(2):
            files[f"{number}.jpg"] = jpeg_bytes(0, number, (8, 8))
            files[f"{number}.cls"] = b"5"
            files[f"{number}.json"] = b'{"fine": 0}' if number else b"{}"
        write_tar(tmp_path / "train-0.tar", files)
        write_tar(tmp_path / "val-0.tar", {name: data for name, data in files.items() if name.startswith("1")})
        with pytest.raises(DataError, match=r"train-0\.tar needs the label 'fine' .*; 0\.jpg has none, its \.json has fine"):
            open_image_set("image_folder", tmp_path, options=OpenOptions(label_column="fine"))

    def test_archives_are_looked_at_once(self, tmp_path, monkeypatch):
        root = self.write(tmp_path / "x", ".txt", b"0")
        opened = []
        whole = tarfile.open
        monkeypatch.setattr(tarfile, "open", lambda path, *options: opened.append(path) or whole(path, *options))
        with pytest.raises(DataError, match="has images without"):
            open_image_set("image_folder", root)
        assert sorted(opened) == [root / "train-0.tar", root / "val-0.tar"]

    @pytest.mark.parametrize("suffix", [".txt", ".cls.npy"])
    def test_labels_of_another_kind(self, tmp_path, suffix):
        words = r"; .*/train-0\.tar has images without \.cls or \.json: unpack it, or write shards with labels\Z"
        with pytest.raises(DataError, match=words):
            open_image_set("image_folder", self.write(tmp_path, suffix, b"0"))

    def test_a_split_that_is_not_there_is_all_that_is_said(self, tmp_path):
        self.write(tmp_path, ".cls", b"0")
        (tmp_path / "val-0.tar").unlink()
        with pytest.raises(DataError, match=r"is in the form 'webdataset' but for '\*val-\*\.tar': put"):
            open_image_set("image_folder", tmp_path)


@pytest.mark.parametrize(("name", "words"), [("a.zip", "there is a file at"), ("link", "there is a link to nowhere, which is")])
def test_a_root_that_is_no_folder(tmp_path, name, words):
    (tmp_path / "a.zip").touch()
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(DataError, match=words):
        open_image_set("image_folder", tmp_path / name)


@pytest.mark.parametrize(("labels", "first"), [((0, 1), 0), ((1, 2), 1), ((0, 2), None), ((2, 3), None)])
def test_named_classes_and_their_numbers(tmp_path, labels, first):
    for split in ("train", "val"):
        files = {}
        for label in labels:
            files[f"{split}{label}.jpg"] = jpeg_bytes(label, len(split), (8, 8))
            files[f"{split}{label}.cls"] = str(label).encode()
        write_tar(tmp_path / f"{split}-0.tar", files)
    (tmp_path / "classnames.txt").write_text("cat\ndog\n")
    if first is None:
        with pytest.raises(DataError, match=rf"needs labels from 0 to 1, which have names; it holds {labels[1]}: mend it"):
            open_image_set("image_folder", tmp_path)
        return
    image_set = open_image_set("image_folder", tmp_path)
    assert (image_set.classes, image_set.first_label) == (("cat", "dog"), first)
    assert [label for _, label in image_set.train] == [0, 1]
