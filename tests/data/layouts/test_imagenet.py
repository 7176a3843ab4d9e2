"""ImageNet as folders, flat, as archives and as tables of shards: what a damaged set is answered with."""

import io
import shutil
import tarfile

import datasets
import pytest
import torch
import tqdm.contrib.concurrent

from gcp_repro.data.layouts.extras import import_extra
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.tiny import write_tiny
from gcp_repro.data.tiny.writers import WNIDS, jpeg_bytes
from gcp_repro.errors import DataError

PARTIAL = OpenOptions(allow_partial=True)


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
            DataError, match=r"need labels; looked for ILSVRC2012_devkit_t12, .*meta\.bin, val\.txt in .*gcp-data imagenet"
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
        assert len(open_image_set("imagenet", root, options=PARTIAL).val) == 4
        assert "has 'val' images of 2 of its 3 classes, none of n01440764; " in caplog.text
        assert len(open_image_set("imagenet", root, classes=["n01443537"]).val) == 4
        with pytest.raises(DataError, match=r"has 'val' images of 1 of its 2 classes, none of n01440764; "):
            open_image_set("imagenet", root, classes=["n01440764", "n01443537"])

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
        with pytest.raises(DataError, match=r"needs 'ILSVRC2012_img_train\.tar' and .*; it is there in the form 'folder': set"):
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
        with pytest.raises(
            DataError,
            match=r"lacks data/train-00001-of-00003\.parquet, data/train-00002-of-00003\.parquet, going by .*: fetch what",
        ):
            open_image_set("imagenet", root)
        assert len(open_image_set("imagenet", root, options=PARTIAL).train) == 12

    @pytest.mark.parametrize(
        ("labels", "names", "words"),
        [
            ([0, None], None, "needs a whole number or a name as each label; it holds None"),
            (["a", "b"], None, "needs the 3 classes of the training images; it also has a, b"),
            ([0, 1], ["c", "b", "a"], "needs the classes of .*train-00000-of-00001.parquet in their order"),
            ([0, -1], WNIDS[:3], r"needs labels from 0; it holds -1: tables mark images whose labels are kept secret so"),
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
        with pytest.raises(DataError, match=r"needs a label in a \.cls or \.json file for each image; a\.jpg has none"):
            open_image_set("imagenet", root, options=PARTIAL)

    @pytest.mark.parametrize(("names", "count"), [(("a.cls",), 0), (("a.jpg", "a.mask.jpg", "a.cls"), 2)])
    def test_a_label_in_a_shard_is_that_of_one_image(self, tmp_path, names, count):
        root = write_tiny("imagenet_webdataset", tmp_path / "x")
        with tarfile.open(root / "imagenet1k-train-0009.tar", "w") as archive:
            for name in names:
                path = tmp_path / name
                path.write_bytes(b"1" if name.endswith(".cls") else jpeg_bytes(0, 0, (8, 8)))
                archive.add(path, name)
        with pytest.raises(DataError, match=f"needs one image for each label; a has {count}: take out masks"):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_what_macos_adds_to_a_shard_is_set_aside(self, tmp_path):
        root = write_tiny("imagenet_webdataset", tmp_path / "x")
        with tarfile.open(root / "imagenet1k-train-0009.tar", "w") as archive:
            for name in ("a.jpg", "a.cls", "._a.jpg", "._a.cls"):
                path = tmp_path / name
                path.write_bytes(b"1" if name.endswith(".cls") else jpeg_bytes(0, 0, (8, 8)))
                archive.add(path, f"./{name}")
        assert open_image_set("imagenet", root, options=PARTIAL).train[-1] == ("train/imagenet1k-train-0009/a.jpg", 1)

    def test_the_lock_of_progress_bars_exists_before_threads_share_it(self):
        library = import_extra("datasets", "parquet files")
        with tqdm.contrib.concurrent.ensure_lock(library.utils.tqdm):
            pass
        assert library.utils.tqdm._lock is not None  # tqdm deletes one that it had to create
