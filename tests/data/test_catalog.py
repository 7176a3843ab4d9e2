"""Every layout: what is read from a sound set, and what is said about a damaged one."""

import io
import logging
import os
import shutil
import tarfile
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
import tqdm.contrib.concurrent
from scipy.io import loadmat, savemat

from gcp_repro.data.catalog import CATALOG, OpenOptions, open_image_set
from gcp_repro.data.image_set import Expected
from gcp_repro.data.layouts.tables import import_extra
from gcp_repro.data.reader import decode_rgb
from gcp_repro.data.tiny import TINY, Tiny, write_tiny
from gcp_repro.data.tiny_writers import WNIDS, jpeg_bytes
from gcp_repro.errors import DataError, UnknownNameError

PARTIAL = OpenOptions(allow_partial=True)
LAYOUTS = {
    name: next(known for known in CATALOG if name.startswith(known)) for name in TINY if not name.startswith(("fashion", "cifar"))
}


@pytest.fixture(autouse=True)
def _offline_cache(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    datasets.disable_progress_bars()


def open_tiny(name, root):
    return open_image_set(LAYOUTS[name], write_tiny(name, root), options=PARTIAL)


@pytest.mark.parametrize("name", LAYOUTS)
def test_every_layout_gives_the_images_with_their_labels(name, tmp_path):
    image_set = open_tiny(name, tmp_path / "data")
    tiny = Tiny()
    assert len(image_set.classes) == tiny.classes
    for split in ("train", "val"):
        rows = [(label, decode_rgb(image_set.storage.read(name), name)) for name, label in image_set.split(split)]
        expected = [(label, decode_rgb(data, "")) for label, _, data in tiny.images(split)]
        key = lambda row: (row[0], row[1].float().mean().item())  # noqa: E731
        for (label, image), (known_label, known_image) in zip(sorted(rows, key=key), sorted(expected, key=key), strict=True):
            assert label == known_label
            np.testing.assert_array_equal(image, known_image)


@pytest.mark.parametrize("name", [name for name, dataset in LAYOUTS.items() if CATALOG[dataset].expected is not None])
def test_an_incomplete_set_is_refused_with_counts_and_advice(name, tmp_path):
    known = CATALOG[LAYOUTS[name]]
    root = write_tiny(name, tmp_path / "data")
    with pytest.raises(DataError) as caught:
        open_image_set(LAYOUTS[name], root)
    for words in (f"12 of {known.expected.train:,} training images", str(root), known.advice, "data.allow_partial=true"):
        assert words in str(caught.value)


@pytest.mark.parametrize("dataset", CATALOG)
def test_an_empty_folder_is_answered_with_places_and_advice(dataset, tmp_path):
    with pytest.raises(DataError) as caught:
        open_image_set(dataset, tmp_path)
    for words in (str(tmp_path), CATALOG[dataset].advice, "data.root", "GCP_DATA_DIR"):
        assert words in str(caught.value)


@pytest.mark.parametrize("dataset", [name for name, entry in CATALOG.items() if entry.subfolders])
def test_a_data_set_is_found_below_the_common_folder(dataset, tmp_path):
    write_tiny(dataset, tmp_path / CATALOG[dataset].subfolders[0])
    assert len(open_image_set(dataset, tmp_path, options=PARTIAL).train) == 12


def test_published_counts_pass_without_a_word(tmp_path, monkeypatch, caplog):
    monkeypatch.setitem(CATALOG, "birds", replace(CATALOG["birds"], expected=Expected(classes=3, train=12, val=6)))
    with caplog.at_level(logging.WARNING):
        open_image_set("birds", write_tiny("birds", tmp_path / "x"))
    assert not caplog.text


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="no data set 'bird'; nearest: 'birds'"):
        open_image_set("bird", CATALOG)
    with pytest.raises(UnknownNameError, match=r"no layout of ImageNet-1k 'tars'; nearest: 'tar'; known: auto, folder"):
        open_image_set("imagenet", CATALOG, "tars")


def test_files_on_a_list_but_not_on_disk_are_named(tmp_path, caplog):
    root = write_tiny("birds", tmp_path / "x")
    gone = sorted((root / "images").rglob("*.jpg"))[0]
    gone.unlink()
    with pytest.raises(DataError, match=rf"lacks 1 of the 18 images on its lists: images/001.*{gone.name}: get CUB_200_2011.tgz"):
        open_image_set("birds", root)
    with caplog.at_level(logging.WARNING):
        assert len(open_image_set("birds", root, options=PARTIAL).train) == 11
    assert gone.name in caplog.text


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
        with pytest.raises(DataError, match=f"lacks 1 of the 18 images on its lists: .*{path.name}"):
            open_image_set("birds", root)

    def test_no_image_at_all(self, tmp_path):
        root = write_tiny("birds", tmp_path / "x")
        shutil.rmtree(root / "images")
        with pytest.raises(DataError, match=r"on its lists 0 are there for training and 0 for evaluation, the first that is not"):
            open_image_set("birds", root, options=PARTIAL)

    def test_classes_txt_is_optional(self, tmp_path):
        root = write_tiny("birds", tmp_path / "x")
        (root / "classes.txt").unlink()
        assert open_image_set("birds", root, options=PARTIAL).classes == ("001", "002", "003")


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


class TestAircraft:
    def test_an_unknown_variant_is_named(self, tmp_path):
        root = write_tiny("aircraft", tmp_path / "x")
        path = root / "data" / "images_variant_test.txt"
        path.write_text(path.read_text().replace("737-200", "737-20"))
        with pytest.raises(DataError, match=r"is '737-20' \(nearest: 737-200"):
            open_image_set("aircraft", root, options=PARTIAL)

    def test_a_variant_named_twice(self, tmp_path):
        root = write_tiny("aircraft", tmp_path / "x")
        path = root / "data" / "variants.txt"
        path.write_text(path.read_text() + "707-320\n")
        with pytest.raises(DataError, match=r"variants\.txt needs each variant once; twice: 707-320"):
            open_image_set("aircraft", root, options=PARTIAL)


class TestFolders:
    def test_links_are_followed_but_not_in_circles(self, tmp_path):
        root = write_tiny("image_folder", tmp_path / "x")
        (root / "train").rename(root / "elsewhere")
        (root / "train").symlink_to(root / "elsewhere")
        (root / "train" / "class_0" / "loop").symlink_to(root / "train")
        (root / "train" / "class_0" / "folder.jpg").mkdir()
        assert len(open_image_set("image_folder", root).train) == 12

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
        with pytest.raises(DataError, match=r"needs the classes of .*train; it lacks class_x"):
            open_image_set("image_folder", root)

    def test_evaluation_images_are_needed_and_may_be_called_test(self, tmp_path):
        root = write_tiny("image_folder", tmp_path / "x")
        (root / "val").rename(root / "test")
        assert len(open_image_set("image_folder", root).val) == 6
        shutil.rmtree(root / "test")
        with pytest.raises(DataError, match=r"needs a folder for evaluation; .* has none of val, valid, validation, test"):
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


class TestImageNet:
    def test_val_labels_come_from_any_of_their_sources(self, tmp_path):
        root = write_tiny("imagenet_flat", tmp_path / "x")
        expected = open_image_set("imagenet", root, options=PARTIAL).val
        kit = root / "ILSVRC2012_devkit_t12"
        with tarfile.open(root / f"{kit.name}.tar.gz", "w:gz") as archive:
            archive.add(kit, kit.name)
        shutil.rmtree(kit)
        assert open_image_set("imagenet", root, options=PARTIAL).val == expected
        (root / f"{kit.name}.tar.gz").unlink()

        wnids = [WNIDS[label] for _, label in expected]
        rows = [f"ILSVRC2012_val_{number:08d},{wnid} 1 2 3 4" for number, wnid in reversed(list(enumerate(wnids, start=1)))]
        (root / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]))
        assert open_image_set("imagenet", root, options=PARTIAL).val == expected
        (root / "LOC_val_solution.csv").unlink()

        torch.save(({}, wnids), root / "meta.bin")
        assert open_image_set("imagenet", root, options=PARTIAL).val == expected

    def test_a_flat_val_without_labels(self, tmp_path):
        root = write_tiny("imagenet_flat", tmp_path / "x")
        shutil.rmtree(root / "ILSVRC2012_devkit_t12")
        with pytest.raises(
            DataError, match=r"need labels; looked for ILSVRC2012_devkit_t12, .*meta\.bin in .*prepare_imagenet\.py"
        ):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_a_stray_validation_image(self, tmp_path):
        root = write_tiny("imagenet_flat", tmp_path / "x")
        (root / "val" / "ILSVRC2012_val_00000099.JPEG").write_bytes(jpeg_bytes(0, 0, (8, 8)))
        with pytest.raises(DataError, match=r"the ground truth has none for val/ILSVRC2012_val_00000099\.JPEG"):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_missing_classes_are_named(self, tmp_path):
        root = write_tiny("imagenet", tmp_path / "x")
        (root / "train" / "n01440764").rename(root / "train" / "n99999999")
        (root / "val" / "n01440764").rename(root / "val" / "n99999999")
        with pytest.raises(DataError, match=r"998 classes are missing: n01440764, .*; no classes of ImageNet-1k: n99999999"):
            open_image_set("imagenet", root)

    @pytest.mark.parametrize("name", ["imagenet", "imagenet_flat"])
    def test_a_training_folder_that_is_no_class(self, tmp_path, name):
        root = write_tiny(name, tmp_path / "x")
        shutil.copytree(root / "train" / "n01440764", root / "train" / "n99999999")
        with pytest.raises(DataError, match=r"train needs folders of classes alone; it also has n99999999, which neither"):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_a_class_without_evaluation_images(self, tmp_path, caplog):
        root = write_tiny("imagenet", tmp_path / "x")
        shutil.rmtree(root / "val" / "n01440764")
        with pytest.raises(DataError, match="train has 1 classes that val lacks: n01440764"):
            open_image_set("imagenet", root)
        assert len(open_image_set("imagenet", root, options=PARTIAL).val) == 4
        assert "has 1 classes that val lacks: n01440764; going on" in caplog.text

    @pytest.mark.parametrize("size", [0, 100, 600])
    def test_a_damaged_meta_mat(self, tmp_path, size):
        root = write_tiny("imagenet_flat", tmp_path / "x")
        path = root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
        path.write_bytes(path.read_bytes()[:size])
        with pytest.raises(DataError, match=f"a MATLAB file is needed at {path}; reading it gave"):
            open_image_set("imagenet", root, options=PARTIAL)
        path.unlink()
        with pytest.raises(DataError, match=f"a MATLAB file is needed at {path}; there is none"):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_a_part_of_the_training_classes_with_all_of_flat_val(self, tmp_path, caplog):
        root = write_tiny("imagenet_flat", tmp_path / "x")
        shutil.rmtree(root / "train" / "n01443537")
        with pytest.raises(DataError, match="2 of 6 validation images belong to classes without a folder in train"):
            open_image_set("imagenet", root)
        image_set = open_image_set("imagenet", root, options=PARTIAL)
        assert [label for _, label in image_set.val] == [0, 0, 1, 1]

    def test_layouts_can_be_asked_for(self, tmp_path):
        root = write_tiny("imagenet", tmp_path / "x")
        with pytest.raises(DataError, match=r"ImageNet-1k needs 'ILSVRC2012_img_train\.tar'; looked in"):
            open_image_set("imagenet", root, "tar")

    def test_a_damaged_parquet_file_is_named(self, tmp_path):
        root = write_tiny("imagenet_parquet", tmp_path / "x")
        path = root / "data" / "validation-00000-of-00001.parquet"
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(DataError, match=f"a whole shard is needed; reading {path} gave"):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_a_missing_parquet_file_is_known_from_the_names_of_the_others(self, tmp_path, caplog):
        root = write_tiny("imagenet_parquet", tmp_path / "x")
        (root / "data" / "train-00000-of-00001.parquet").rename(root / "data" / "train-00000-of-00003.parquet")
        with pytest.raises(DataError, match=r"lacks train-00001-of-00003\.parquet, train-00002-of-00003\.parquet: download"):
            open_image_set("imagenet", root)
        assert len(open_image_set("imagenet", root, options=PARTIAL).train) == 12

    @pytest.mark.parametrize(
        ("labels", "names", "words"),
        [
            ([0, None], None, "needs whole numbers; it holds None"),
            (["a", "b"], None, "needs whole numbers; it holds 'a'"),
            ([0, 1], ["c", "b", "a"], "needs the classes of .*train-00000-of-00001.parquet in their order"),
            ([0, -1], WNIDS[:3], r"out of range: val/1 \(class 0\)"),
        ],
    )
    def test_labels_in_parquet_that_cannot_be_right(self, tmp_path, labels, names, words):
        root = write_tiny("imagenet_parquet", tmp_path / "x")
        kind = datasets.ClassLabel(names=list(names)) if names else datasets.Value("string" if "a" in labels else "int64")
        features = datasets.Features({"image": datasets.Image(), "label": kind})
        rows = {"image": [{"bytes": jpeg_bytes(0, 0, (8, 8)), "path": None}] * 2, "label": labels}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(root / "data" / "validation-00000-of-00001.parquet")
        with pytest.raises(DataError, match=words):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_labels_of_shards_may_be_in_json(self, tmp_path):
        root = write_tiny("imagenet_webdataset", tmp_path / "x")
        with tarfile.open(root / "imagenet1k-train-0009.tar", "w") as archive:
            for name, data in (("a.jpeg", jpeg_bytes(0, 0, (8, 8))), ("a.json", b'{"label": 2, "filename": "x.JPEG"}')):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        assert open_image_set("imagenet", root, options=PARTIAL).train[-1] == ("train/imagenet1k-train-0009/a.jpeg", 2)

    def test_a_shard_without_labels(self, tmp_path):
        root = write_tiny("imagenet_webdataset", tmp_path / "x")
        with tarfile.open(root / "imagenet1k-train-0009.tar", "w") as archive:
            path = tmp_path / "a.jpg"
            path.write_bytes(jpeg_bytes(0, 0, (8, 8)))
            archive.add(path, "a.jpg")
        with pytest.raises(DataError, match=r"train-0009\.tar needs a \.cls or \.json file for each image; a\.jpg has none"):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_the_lock_of_progress_bars_exists_before_threads_share_it(self):
        library = import_extra("datasets", "parquet files")
        with tqdm.contrib.concurrent.ensure_lock(library.utils.tqdm):
            pass
        assert library.utils.tqdm._lock is not None  # tqdm deletes one that it had to create
