"""Forms in which people really have these data sets, written as their distributors write them, and read by one mechanism."""

import io
import shutil

import datasets
import pytest
from PIL import Image

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.data.subset import select_subset
from gcp_repro.data.tiny import Tiny, write_tiny
from gcp_repro.data.tiny.writers import WNIDS, jpeg_bytes
from gcp_repro.errors import DataError
from tests.fakes.image_forms import image_row, put, write_images, write_table, write_tar

PARTIAL = OpenOptions(allow_partial=True)


def partial(**options):
    return OpenOptions(allow_partial=True, **options)


class TestSplitFolders:
    @pytest.mark.parametrize("names", [("train", "validation"), ("Train", "Test"), ("training", "testing"), ("TRAIN", "Val")])
    def test_usual_names_in_any_case(self, tmp_path, names):
        image_set = open_image_set("image_folder", write_images(tmp_path, *names))
        assert (len(image_set.train), len(image_set.val), image_set.classes) == (4, 4, ("a", "b"))

    def test_names_that_are_given(self, tmp_path):
        write_images(tmp_path, "split/one", "two", "held out")
        options = OpenOptions(train_split=("split/one", "two"), val_split=("held out",))
        image_set = open_image_set("image_folder", tmp_path, options=options)
        assert (len(image_set.train), len(image_set.val)) == (8, 4)
        assert image_set.train[0] == ("split/one/a/0_0.jpg", 0)
        with pytest.raises(DataError, match="the image folder needs 'split/on'; looked in"):
            open_image_set("image_folder", tmp_path, options=OpenOptions(train_split=("split/on",), val_split=("two",)))

    def test_kaggles_parts_of_imagenet_100(self, tmp_path):
        write_images(tmp_path, "train.X1", "val.X", classes=WNIDS[:2])
        write_images(tmp_path, "train.X2", classes=WNIDS[2:])
        write_images(tmp_path, "val.X", classes=WNIDS[2:])
        options = OpenOptions(train_split=("train.X1", "train.X2"), val_split=("val.X",))
        image_set = open_image_set("image_folder", tmp_path, options=options)
        assert image_set.classes == WNIDS
        assert [label for _, label in image_set.train] == [label for label in range(len(WNIDS)) for _ in range(2)]


class TestLists:
    def test_paths_and_numbers(self, tmp_path):
        write_images(tmp_path, "train", "val")
        (tmp_path / "train.txt").write_text("a/0_0.jpg 0\nb/0_1.jpg 1\nb/0_0.jpg 1\n")
        (tmp_path / "val.txt").write_text("b/1_0.jpg 1\na/1_1.jpg 0\n")
        image_set = open_image_set("image_folder", tmp_path, "list")
        assert image_set.train == [("train/a/0_0.jpg", 0), ("train/b/0_1.jpg", 1), ("train/b/0_0.jpg", 1)]
        assert image_set.val == [("val/b/1_0.jpg", 1), ("val/a/1_1.jpg", 0)]
        assert image_set.classes == ("0", "1")

    def test_numbers_may_start_at_one(self, tmp_path):
        write_images(tmp_path, "images")
        (tmp_path / "train.txt").write_text("images/a/0_0.jpg 1\nimages/b/0_0.jpg 2\n")
        (tmp_path / "val.txt").write_text("images/a/0_1.jpg 1\nimages/b/0_1.jpg 2\n")
        image_set = open_image_set("image_folder", tmp_path)
        assert [label for _, label in image_set.train] == [0, 1]
        (tmp_path / "val.txt").write_text("images/a/0_1.jpg 0\n")
        with pytest.raises(DataError, match=r"val\.txt needs the 2 classes of the training images; it also has 0"):
            open_image_set("image_folder", tmp_path)

    def test_csv_with_a_header(self, tmp_path):
        write_images(tmp_path, "pictures")
        lines = ["id;kind;file name;used for"]
        for split, image in (("train", 0), ("test", 1)):
            lines += [f'1;"{name}, red";pictures\\{name}\\0_{image};{split}' for name in "ba"]
        (tmp_path / "all.csv").write_text("\n".join(lines))
        both = {"train_split": ("all.csv",), "val_split": ("all.csv",)}
        columns = {"path_column": "file name", "label_column": "kind", "split_column": "used for"}
        image_set = open_image_set("image_folder", tmp_path, options=OpenOptions(**both, **columns))
        assert image_set.classes == ("a, red", "b, red")
        assert image_set.train == [("pictures/b/0_0.jpg", 1), ("pictures/a/0_0.jpg", 0)]
        assert image_set.val == [("pictures/b/0_1.jpg", 1), ("pictures/a/0_1.jpg", 0)]
        with pytest.raises(
            DataError, match=r"needs a column 'label or labels or class'; it has id, kind, file name, used for: name"
        ):
            open_image_set("image_folder", tmp_path, options=OpenOptions(**both))

    def test_csv_without_a_header(self, tmp_path):
        write_images(tmp_path, "train", "val")
        for split, number in (("train", 0), ("val", 1)):
            (tmp_path / f"{split}.csv").write_text(f"{split}/a/{number}_0.jpg,cat\n{split}/b/{number}_0.jpg,dog\n")
        assert open_image_set("image_folder", tmp_path, "list").classes == ("cat", "dog")

    def test_noisy_labels_of_imagenette(self, tmp_path):
        write_images(tmp_path, "train", "val", classes=WNIDS[:2], each=1)
        rows = [
            f"{split}/{wnid}/{n}_0.jpg,{wnid},{WNIDS[0]},{split == 'val'}"
            for n, split in enumerate(("train", "val"))
            for wnid in WNIDS[:2]
        ]
        (tmp_path / "noisy_imagenette.csv").write_text("\n".join(["path,noisy_labels_0,noisy_labels_50,is_valid", *rows]))
        names = {"train_split": ("noisy_imagenette.csv",), "val_split": ("noisy_imagenette.csv",)}
        options = partial(**names, label_column="noisy_labels_0", split_column="is_valid")
        image_set = open_image_set("imagenette", tmp_path, options=options)
        assert image_set.val == [(f"val/{wnid}/1_0.jpg", label) for label, wnid in enumerate(WNIDS[:2])]

    def test_a_row_without_a_label_and_a_missing_image(self, tmp_path):
        write_images(tmp_path, "train", "val")
        (tmp_path / "val.txt").write_text("a/1_0.jpg 0\nb/1_0.jpg 1\n")
        (tmp_path / "train.txt").write_text("a/0_0.jpg 0\nb/0_0.jpg\n")
        with pytest.raises(DataError, match=r"train\.txt needs an image and its label in each row; row 2 is 'b/0_0\.jpg'"):
            open_image_set("image_folder", tmp_path, "list")
        (tmp_path / "train.txt").write_text("a/0_0.jpg 0\nb/9_9.jpg 1\n")
        with pytest.raises(DataError, match=r"lacks 1 of its 4 images: train/b/9_9\.jpg"):
            open_image_set("image_folder", tmp_path, "list")


class TestSpellings:
    @pytest.mark.parametrize("spelling", ["./all/a.jpg", "all//a.jpg", "{root}/all/a.jpg"])
    def test_one_image_in_two_spellings_is_in_both_splits(self, tmp_path, spelling):
        for name in ("a", "b"):
            put(tmp_path / "all" / f"{name}.jpg")
        (tmp_path / "train.txt").write_text("all/a.jpg x\n")
        (tmp_path / "val.txt").write_text(f"all/b.jpg x\n{spelling.format(root=tmp_path)} x\n")
        with pytest.raises(DataError, match=r"without common images; 1 are in both: all/a\.jpg"):
            open_image_set("image_folder", tmp_path)

    def test_an_empty_label_is_no_class(self, tmp_path):
        for name in ("a", "b"):
            put(tmp_path / f"{name}.jpg")
        (tmp_path / "train.csv").write_text("path,label\na.jpg,\n")
        (tmp_path / "val.csv").write_text("path,label\nb.jpg,\n")
        with pytest.raises(DataError, match=r"train\.csv needs a label in each row; row 2, a\.jpg, has none: add it"):
            open_image_set("image_folder", tmp_path)


class TestImageNet:
    def test_caffes_list_labels_a_flat_val(self, tmp_path):
        root = write_tiny("imagenet_flat", tmp_path / "x")
        expected = open_image_set("imagenet", root, options=PARTIAL).val
        shutil.rmtree(root / "ILSVRC2012_devkit_t12")
        numbers = {"n01440764": 0, "n01443537": 1, "n01484850": 2}
        lines = [f"{name.removeprefix('val/')} {numbers[WNIDS[label]]}" for name, label in expected]
        (root / "val.txt").write_text("\n".join(lines))
        assert open_image_set("imagenet", root, options=PARTIAL).val == expected
        (root / "val.txt").write_text("ILSVRC2012_val_00000001.JPEG 1000\n")
        with pytest.raises(DataError, match=r"needs a wnid or a number from 0 to 999; ILSVRC2012_val_00000001\.JPEG has '1000'"):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_no_val_at_all(self, tmp_path):
        root = write_tiny("imagenet_flat", tmp_path / "x")
        shutil.rmtree(root / "val")
        with pytest.raises(DataError, match=r"evaluation needs images of its own; .*x has train and none of val, valid"):
            open_image_set("imagenet", root, options=PARTIAL)
        (root / "ILSVRC2012_img_val.tar").touch()
        with pytest.raises(DataError, match=r"a list, but ILSVRC2012_img_val\.tar: unpack ILSVRC2012_img_val\.tar, put images"):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_inner_archives_that_are_still_packed(self, tmp_path):
        root = write_tiny("imagenet", tmp_path / "x")
        shutil.rmtree(root / "train")
        for wnid in WNIDS[:2]:
            write_tar(root / "train" / f"{wnid}.tar", {f"{wnid}_1.JPEG": jpeg_bytes(0, 0, (8, 8))})
        with pytest.raises(
            DataError, match=r"needs 'train/<class>/'; .* holds 2 archives that are still packed, n01440764\.tar, "
        ):
            open_image_set("imagenet", root, options=PARTIAL)

    def test_tables_of_all_classes_are_named_by_wnid(self, tmp_path):
        names = [f"name {label}" for label in range(1000)]
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
        for split, number in (("train", 0), ("validation", 1)):
            rows = [image_row(label, number=number) for label in (0, 1, 999)]
            write_table(tmp_path / "data" / f"{split}-00000-of-00001.parquet", rows, features)
        image_set = open_image_set("imagenet", tmp_path, options=PARTIAL)
        assert (image_set.classes[0], image_set.classes[999]) == ("n01440764", "n15075141")
        (tmp_path / "some.txt").write_text("n15075141 toilet paper\n\nn01440764\n")
        part = select_subset(image_set, classes=str(tmp_path / "some.txt"))
        assert part.classes == ("n01440764", "n15075141")
        assert [label for _, label in part.train] == [0, 1]

    def test_named_classes_need_no_others(self, tmp_path):
        root = write_tiny("imagenet", tmp_path / "x")
        with pytest.raises(DataError, match="3 of 1,000 classes"):
            open_image_set("imagenet", root)
        assert open_image_set("imagenet", root, classes=["n01440764"]).classes == WNIDS[:3]

    def test_tiny_imagenet_is_recognised_by_its_list(self, tmp_path):
        root = write_tiny("tiny_imagenet", tmp_path / "tiny-imagenet-200")
        image_set = open_image_set("tiny_imagenet", tmp_path, options=PARTIAL)
        assert image_set.val[0] == ("val/images/val_0.JPEG", 0)
        with pytest.raises(
            DataError, match=r"it has none of them but images: .*; if val_annotations\.txt has their labels, set data"
        ):
            open_image_set("image_folder", root)
        shutil.rmtree(root / "val")
        write_images(root, "val", classes=WNIDS[:3])  # sorted into folders, as many do
        assert open_image_set("tiny_imagenet", tmp_path, options=PARTIAL).val[0] == ("val/n01440764/0_0.jpg", 0)


class TestFineGrainedTables:
    @pytest.mark.parametrize("name", ["birds", "cars", "dogs"])
    def test_tables_of_the_hub(self, tmp_path, name):
        features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=["one", "two"])})
        for split, number in (("train", 0), ("test", 1)):
            for part in range(2):
                write_table(
                    tmp_path / "data" / f"{split}-0000{part}-of-00002.parquet", [image_row(part, number=number)], features
                )
        image_set = open_image_set(name, tmp_path, options=PARTIAL)
        assert image_set.classes == ("one", "two")
        assert image_set.train == [("train/0", 0), ("train/1", 1)]
        assert image_set.storage.read("val/1") == jpeg_bytes(0, 1, (8, 8))

    def test_the_aircrafts_training_set_is_two_of_three_tables(self, tmp_path):
        for split, number in (("train", 0), ("validation", 1), ("test", 2)):
            rows = [image_row(label, "variant", number) | {"family": "x"} for label in ("707-320", "A310")]
            write_table(tmp_path / "data" / f"{split}-00000-of-00001.parquet", rows)
        image_set = open_image_set("aircraft", tmp_path, options=partial(label_column="variant"))
        assert (len(image_set.train), len(image_set.val)) == (4, 2)
        assert image_set.classes == ("707-320", "A310")
        with pytest.raises(DataError, match=r"needs a column 'label or labels or fine_label'; it has image, variant, family"):
            open_image_set("aircraft", tmp_path, options=PARTIAL)

    def test_a_table_in_two_splits_is_refused(self, tmp_path):
        write_table(tmp_path / "train.parquet", [image_row(0), image_row(1)])
        options = partial(train_split=("train",), val_split=("train",))
        with pytest.raises(DataError, match=r"need files of their own; .*train\.parquet would be in both"):
            open_image_set("image_folder", tmp_path, "parquet", options)

    def test_secret_labels(self, tmp_path):
        write_table(tmp_path / "train.parquet", [image_row(0), image_row(1)])
        write_table(tmp_path / "test.parquet", [image_row(-1)])
        with pytest.raises(DataError, match="needs labels from 0; it holds -1: tables mark images whose labels are kept secret"):
            open_image_set("image_folder", tmp_path, "parquet")

    @pytest.mark.parametrize("name", ["run_*", "set[1]", "a::b", "@x::y", "what?", "{a,b}", "~", "$HOME", "%41"])
    def test_a_folders_name_is_no_pattern(self, tmp_path, name):
        for folder, images in ((name, 2), ("run_a", 5), ("set1", 5), ("whatx", 5), ("a", 5)):
            for number, split in enumerate(("train", "test")):
                rows = [image_row(label % 2, number=10 * number + label) for label in range(images)]
                write_table(tmp_path / folder / f"{split}-0.parquet", rows)
                shard = {f"{label}.{suffix}": data for label in range(images) for suffix, data in
                         (("jpg", jpeg_bytes(0, number, (8, 8))), ("cls", str(label % 2).encode()))}  # fmt: skip
                write_tar(tmp_path / folder / f"{split}-0.tar", shard)
        write_images(tmp_path / name, "train", "test", each=1)
        for layout, images in (("parquet", 2), ("webdataset", 2), ("folder", 2)):
            image_set = open_image_set("image_folder", tmp_path / name, layout)
            assert (len(image_set.train), len(image_set.val)) == (images, images), layout
            assert image_set.storage.read(image_set.val[0][0])


class TestShards:
    def write(self, root, *, shards=2):
        for split in ("train", "test"):
            for shard in range(shards):
                file = io.BytesIO()
                Image.new("RGB", (8, 8), (shard, len(split), 0)).save(file, "WEBP", lossless=True)
                write_tar(
                    root / split / f"{shard}.tar", {f"s{shard}.cls": str(shard).encode(), f"s{shard}.webp": file.getvalue()}
                )
            (root / split / "nshards.txt").write_text("2\n")
        (root / "classnames.txt").write_text("black cat\nred dog\n")
        return root

    def test_clip_benchmark(self, tmp_path):
        image_set = open_image_set("cars", self.write(tmp_path), options=PARTIAL)
        assert image_set.classes == ("black cat", "red dog")
        assert image_set.val == [("val/test/0/s0.webp", 0), ("val/test/1/s1.webp", 1)]
        assert image_set.storage.read("val/test/1/s1.webp")[:4] == b"RIFF"

    def test_a_missing_shard_of_clip_benchmark(self, tmp_path):
        with pytest.raises(
            DataError, match=r"test needs the 2 shards of nshards\.txt; it has 1: fetch the rest; or set data\.allow"
        ):
            open_image_set("cars", self.write(tmp_path, shards=1))
        assert len(open_image_set("cars", tmp_path, options=PARTIAL).train) == 1


class TestCars:
    def test_kaggles_folders_of_classes(self, tmp_path):
        write_images(
            tmp_path / "car_data" / "car_data", "train", "test", classes=("Acura RL Sedan 2012", "Ram C-V Cargo Van 2012")
        )
        image_set = open_image_set("cars", tmp_path, options=PARTIAL)
        assert (len(image_set.train), image_set.classes[1]) == (4, "Ram C-V Cargo Van 2012")

    @pytest.mark.parametrize("nested", [False, True])
    def test_the_named_layout_decides_and_a_layout_needs_all_its_parts(self, tmp_path, nested):
        root = write_tiny("cars", tmp_path / "cars")
        other = write_tiny("cars_car_ims", tmp_path / "later")
        shutil.copy(other / "cars_annos.mat", root)
        if nested:
            for name in ("cars_train", "cars_test"):
                (root / name).rename(tmp_path / "moved")
                (root / name).mkdir()
                (tmp_path / "moved").rename(root / name / name)
        for layout in ("original", "auto"):
            assert len(open_image_set("cars", root, layout, PARTIAL).train) == 12
        with pytest.raises(
            DataError,
            match=r"needs 'car_ims'; looked in .*; it is there in the form 'original': set data\.layout=original or auto\Z",
        ):
            open_image_set("cars", root, "car_ims", PARTIAL)
        shutil.copytree(other / "car_ims", root / "car_ims")
        assert open_image_set("cars", root, "car_ims", PARTIAL).train[0][0] == "car_ims/000001.jpg"
        shutil.rmtree(root / "cars_train")
        with pytest.raises(DataError, match=r"needs 'cars_train'; looked in .*; it is there in the form 'car_ims'"):
            open_image_set("cars", root, "original", PARTIAL)


class TestDogs:
    def test_kaggles_folder_of_images(self, tmp_path):
        root = write_tiny("dogs", tmp_path / "dogs", Tiny(classes=2))
        (root / "images").mkdir()
        (root / "Images").rename(root / "images" / "Images")
        assert open_image_set("dogs", root, options=PARTIAL).train[0][0].startswith("images/Images/n02085620-Chihuahua/")
