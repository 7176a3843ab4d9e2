"""Lists as people really write them."""

import shutil
import unicodedata

import pytest

from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.opening import open_image_set
from gcp_repro.errors import DataError
from tests.fakes.image_forms import put


def write_lists(root, suffix, first=("", ""), encoding="utf-8", row="images/{split}{number}.jpg,{label}"):
    """Two lists of two images each, with lines before the rows."""
    for split in ("train", "val"):
        lines = list(first)
        for number, label in enumerate("ab"):
            put(root / "images" / f"{split}{number}.jpg", number, number + len(split))
            lines.append(row.format(split=split, number=number, label=label))
        path = root / f"{split}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes("\r\n".join(filter(None, lines)).encode(encoding))
    return root


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".csv", {"first": ["sep=;", "path;label"], "row": "images/{split}{number}.jpg;{label}"}),  # Excel
        (".csv", {"first": ["path,label"], "encoding": "utf-16"}),  # Windows' editors
        (".csv", {"first": ["path,label"], "encoding": "utf-8-sig"}),
        (".csv", {"first": ["path,label"], "row": r"C:\data\set\images\{split}{number}.jpg,{label}"}),
        (".csv", {"first": ["path,label"], "row": "/home/somebody/.cache/set/images/{split}{number}.jpg,{label}"}),
        (".csv", {"row": "/home/somebody/.cache/set/images/{split}{number}.jpg,{label}"}),
        (".CSV", {"first": [" path , label "], "row": ' "images/{split}{number}.jpg" , {label} '}),
        (".txt", {"first": ["filename label"], "row": "images/{split}{number}.jpg {label}"}),
        (".txt", {"first": ["# made by hand", "# path label"], "row": "images/{split}{number}.jpg {label}"}),
        (".txt", {}),
        (".txt", {"first": ["file,class"]}),
        (".txt", {"row": "images/{split}{number}.jpg;{label}"}),
        (".jsonl", {"row": '{{"id": 7, "file_name": "images/{split}{number}.jpg", "label": "{label}", "box": [1, 2]}}'}),
        ("/metadata.csv", {"first": ["file_name,label"], "row": "{split}{number}.jpg,{label}"}),  # the hub's folders of images
        ("/metadata.jsonl", {"row": '{{"file_name": "{split}{number}.jpg", "label": "{label}"}}'}),
    ],
)
def test_separators_headers_and_places(tmp_path, suffix, options):
    write_lists(tmp_path, suffix, **options)
    if suffix.startswith("/"):
        for path in (tmp_path / "images").iterdir():
            path.rename(tmp_path / path.stem[:-1] / path.name)
        (tmp_path / "images").rmdir()
    folder = "images" if not suffix.startswith("/") else "train"
    image_set = open_image_set("image_folder", tmp_path)
    assert image_set.train == [(f"{folder}/train0.jpg", 0), (f"{folder}/train1.jpg", 1)]
    assert image_set.classes == ("a", "b")
    assert len(image_set.val) == 2


@pytest.mark.parametrize("folder", ["", "imgs/"])
def test_a_list_decides_over_one_folder_beside_it(tmp_path, folder):
    for split in ("train", "val"):
        lines = ["file_name,label"]
        for number, label in enumerate("ab"):
            put(tmp_path / split / folder / f"{number}.jpg", number, number + len(split))
            lines.append(f"{folder}{number}.jpg,{label}")
        (tmp_path / split / "metadata.csv").write_text("\n".join(lines))
    image_set = open_image_set("image_folder", tmp_path)
    assert image_set.classes == ("a", "b")
    assert image_set.train == [(f"train/{folder}0.jpg", 0), (f"train/{folder}1.jpg", 1)]


@pytest.mark.parametrize(
    ("suffix", "options"),
    [
        (".csv", {"first": ["path|label"], "row": "images/{split}{number}.jpg|{label}"}),
        (".txt", {"row": "images/{split}{number}.jpg|{label}"}),
        (".csv", {"first": ["path;label;;", ";;;"], "row": "images/{split}{number}.jpg;{label};;"}),  # what spreadsheets leave
        (".csv", {"first": ["path,label"], "row": r"D:/sets\images\{split}{number}.jpg,{label}"}),
        (".csv", {"first": ["path,label"], "row": "gs://bucket/sets/images/{split}{number}.jpg,{label}"}),
        (".txt", {"row": '"images/{split}{number}.jpg"  {label}'}),
        (".txt", {"row": "{split}{number}.jpg {label}"}),
        (".csv", {"first": ["path,label"], "row": "{split}{number},{label}"}),
    ],
)
def test_more_separators_and_places(tmp_path, suffix, options):
    write_lists(tmp_path, suffix, **options)
    (tmp_path / "images").rename(tmp_path / ("Images" if "images" not in options["row"] else "images"))
    image_set = open_image_set("image_folder", tmp_path)
    assert [name.lower() for name, _ in image_set.train] == ["images/train0.jpg", "images/train1.jpg"]
    assert (image_set.classes, [label for _, label in image_set.val]) == (("a", "b"), [0, 1])


@pytest.mark.parametrize(
    ("row", "classes"),
    [
        ("images/{split}{number}.jpg big {label}", ("big a", "big b")),
        ("images/{split}{number}.jpg {number} {label}", ("0", "1")),
        ("{split}{number} {number} 1 1", ("0", "1")),  # as of Oxford's pets
        ("{number} images/{split}{number}.jpg {label}", ("a", "b")),
        ("x y/{split}{number}.jpg {label}", ("a", "b")),
    ],
)
def test_several_columns_between_blanks(tmp_path, row, classes):
    write_lists(tmp_path, ".txt", row=row)
    if row.startswith("x"):
        (tmp_path / "images").rename(tmp_path / "x y")
    image_set = open_image_set("image_folder", tmp_path)
    assert (image_set.classes, [label for _, label in image_set.train]) == (classes, [0, 1])


@pytest.mark.parametrize("suffix", ["", ".jpg"])
def test_paths_alone_have_folders_as_labels(tmp_path, suffix):
    """As of Food-101, textures (DTD) and indoor scenes (MIT)."""
    for split in ("train", "val"):
        for name in ("pie", "apple tart"):
            put(tmp_path / "images" / name.replace(" ", "_") / f"{split}.jpg", 0, len(name + split))
        (tmp_path / "meta").mkdir(exist_ok=True)
        (tmp_path / "meta" / f"{split}.txt").write_text(f"pie/{split}{suffix}\napple_tart/{split}{suffix}\n")
    options = OpenOptions(train_split=("meta/train.txt",), val_split=("meta/val.txt",))
    image_set = open_image_set("image_folder", tmp_path, options=options)
    assert image_set.classes == ("apple_tart", "pie")
    assert image_set.train == [("images/pie/train.jpg", 1), ("images/apple_tart/train.jpg", 0)]


def test_of_two_folders_with_the_images_none_is_guessed(tmp_path):
    for split, folder in (("train", "train"), ("val", "test")):
        for number in range(2):
            put(tmp_path / folder / f"{number}.jpg", number, number + len(split))
    for name in ("trainLabels.csv", "testLabels.csv", "others.csv"):
        (tmp_path / name).write_text("id,label\n0,a\n1,b\n")
    options = OpenOptions(train_split=("trainLabels.csv",), val_split=("testLabels.csv",))
    image_set = open_image_set("image_folder", tmp_path, options=options)
    assert (image_set.train[0], image_set.val[1]) == (("train/0.jpg", 0), ("test/1.jpg", 1))
    options = OpenOptions(train_split=("trainLabels.csv",), val_split=("others.csv",))
    with pytest.raises(DataError, match="lacks 2 of its 4 images: 0, 1: mend the list, or put the images where its paths lead"):
        open_image_set("image_folder", tmp_path, options=options)


def test_a_column_by_its_number(tmp_path):
    write_lists(tmp_path, ".csv", row="images/{split}{number}.jpg,x,{label}")
    assert open_image_set("image_folder", tmp_path, options=OpenOptions(label_column="2")).classes == ("a", "b")
    for column in ("7", "kind"):
        with pytest.raises(
            DataError, match=rf"train\.csv needs a column '{column}'; it has 0, 1, 2: name one by data\.label_col"
        ):
            open_image_set("image_folder", tmp_path, options=OpenOptions(label_column=column))


def test_images_that_are_still_packed(tmp_path):
    write_lists(tmp_path, ".txt", row="images/{split}{number}.jpg {label}")
    shutil.rmtree(tmp_path / "images")
    (tmp_path / "images.zip").touch()
    with pytest.raises(DataError, match=r"lacks 4 of its 4 images: .*: unpack images\.zip, or mend the list"):
        open_image_set("image_folder", tmp_path)


def test_a_root_by_another_name(tmp_path):
    write_lists(tmp_path / "real", ".txt", row="real/images/{split}{number}.jpg {label}")
    (tmp_path / "alias").symlink_to("real")
    assert open_image_set("image_folder", tmp_path / "alias").train[0][0] == "images/train0.jpg"


def test_a_comma_in_a_name_separates_nothing(tmp_path):
    for split in ("train", "val"):
        put(tmp_path / split / "a, 1.jpg", 0, len(split))
        (tmp_path / f"{split}.txt").write_text(f"{split}/a, 1.jpg 0\n")
    assert open_image_set("image_folder", tmp_path, "list").train == [("train/a, 1.jpg", 0)]


def test_what_is_before_a_path_is_dropped_from_all_rows_or_none(tmp_path):
    write_lists(tmp_path, ".csv", ["path,label"], row="/far/{label}/images/{split}{number}.jpg,{label}")
    with pytest.raises(DataError, match=r"lacks 4 of its 4 images: /far/a/images/train0\.jpg"):
        open_image_set("image_folder", tmp_path)


def test_where_paths_start_is_seen_though_the_first_image_is_missing(tmp_path):
    write_lists(tmp_path, ".csv", ["path,label"], row="/far/images/{split}{number}.jpg,{label}")
    (tmp_path / "images" / "train0.jpg").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of its 4 images: images/train0\.jpg"):
        open_image_set("image_folder", tmp_path)


def test_a_list_that_begins_above_the_root(tmp_path):
    write_lists(tmp_path / "mine", ".csv", ["path,label"], row="sets/mine/images/{split}{number}.jpg,{label}")
    assert open_image_set("image_folder", tmp_path / "mine").train[0] == ("images/train0.jpg", 0)


def test_images_of_the_same_name_elsewhere_are_others(tmp_path):
    write_lists(tmp_path, ".csv", ["path,label"], row="lost/{split}{number}.jpg,{label}")
    for path in list((tmp_path / "images").iterdir()):
        shutil.copy(path, tmp_path)
    with pytest.raises(DataError, match=r"lacks 4 of its 4 images: lost/train0\.jpg"):
        open_image_set("image_folder", tmp_path)


@pytest.mark.parametrize(
    ("suffix", "options", "words"),
    [
        (".csv", {"first": ["path,label", "é"], "encoding": "latin-1"}, r"UTF-8 is needed at .*train\.csv; .*: save it as UTF-8"),
        (".jsonl", {"row": '{{"file_name": '}, r"train\.jsonl needs a JSON object in each line; line 1 is none \("),
        (
            ".csv",
            {"first": ["path,label,label"], "row": "images/{split}{number}.jpg,{label},3"},
            r"needs one column 'label'; it has 2",
        ),
        (".jsonl", {"row": "3"}, r"train\.jsonl needs a JSON object in each line; line 1 is none"),
        (".jsonl", {"row": '[{{"image": "x.png", "label": 1}}]'}, r"needs a JSON object in each line; line 1 is none but \[\{"),
        (
            ".jsonl",
            {"row": '{{"image": "images/{split}{number}.jpg", "label": {{"id": 1}}}}'},
            r"needs a label in each row; row 2",
        ),
        (".txt", {"row": "images/{split}\0{number}.jpg {label}"}, r"text file is needed at .*/train\.txt; it is another kind"),
        (
            ".txt",
            {"row": "images/{split}{number}.jpg"},
            r"needs an image and its label in each row; row 1 is 'images/train0\.jpg'",
        ),
        (
            ".csv",
            {"first": ["image,MEL,NV"], "row": "x.jpg,1.0,0.0"},
            r"needs a column 'label or .* it has image, MEL",
        ),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path, suffix, options, words):
    write_lists(tmp_path, suffix, **options)
    with pytest.raises(DataError, match=words):
        open_image_set("image_folder", tmp_path)


@pytest.mark.parametrize(("on_disk", "on_list"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_accents_are_the_same_in_both_their_forms(tmp_path, on_disk, on_list):
    for split in ("train", "val"):
        put(tmp_path / "images" / unicodedata.normalize(on_disk, f"{split}é.jpg"), 0, len(split))
        form = on_list if split == "train" else on_disk
        (tmp_path / f"{split}.csv").write_text(unicodedata.normalize(form, f"path,label\nimages/{split}é.jpg,café\n"), "utf-8")
    image_set = open_image_set("image_folder", tmp_path)
    assert image_set.storage.read(image_set.train[0][0])
    assert image_set.classes == ("café",)


def test_each_row_may_lack_another_suffix(tmp_path):
    put(tmp_path / "a.jpg")
    put(tmp_path / "b.png", 0, 1)
    put(tmp_path / "c.jpeg", 0, 2)
    (tmp_path / "train.csv").write_text("id,label\na,0\nb,0\n")
    (tmp_path / "val.csv").write_text("id,label\nc.jpeg,0\n")
    assert [name for name, _ in open_image_set("image_folder", tmp_path).train] == ["a.jpg", "b.png"]


@pytest.mark.parametrize("wrong", ["images/train0.png", "images/TRAIN0.jpg"])
def test_what_is_there_instead_of_an_image_is_said(tmp_path, wrong):
    write_lists(tmp_path, ".csv", ["path,label"])
    (tmp_path / "train.csv").write_text(f"path,label\n{wrong},a\nimages/train1.jpg,b\n")
    with pytest.raises(DataError, match=rf"lacks 1 of its 4 images: {wrong} \(there is train0\.jpg\)"):
        open_image_set("image_folder", tmp_path)


def test_of_several_names_of_evaluation_in_one_column_one_is_taken(tmp_path, caplog):
    for name in "abc":
        put(tmp_path / f"{name}.jpg", 0, ord(name))
    options = OpenOptions(train_split=("all.csv",), val_split=("all.csv",), split_column="set")
    (tmp_path / "all.csv").write_text("path,label,set\na.jpg,0,test\nb.jpg,0,val\nc.jpg,0,train\n")
    image_set = open_image_set("image_folder", tmp_path, options=options)
    assert (image_set.train, image_set.val) == ([("c.jpg", 0)], [("b.jpg", 0)])
    assert "all.csv has rows of val, test; those of val alone are evaluated" in caplog.text


def test_a_column_that_marks_training_images_is_not_read_the_other_way_round(tmp_path):
    for name in "ab":
        put(tmp_path / f"{name}.jpg", 0, ord(name))
    options = OpenOptions(train_split=("all.csv",), val_split=("all.csv",), split_column="is_training_image")
    (tmp_path / "all.csv").write_text("path,label,is_training_image\na.jpg,0,1\nb.jpg,0,0\n")
    with pytest.raises(DataError, match=r"'is_training_image' seems to mark training images: write train and test in it"):
        open_image_set("image_folder", tmp_path, options=options)


def test_a_word_for_a_split_that_is_none(tmp_path):
    for name in "abc":
        put(tmp_path / f"{name}.jpg", 0, ord(name))
    options = OpenOptions(train_split=("all.csv",), val_split=("all.csv",), split_column="set")
    for word in ("VALIDATION ", "dev", "1.0", "True"):
        (tmp_path / "all.csv").write_text(f"path,label,set\na.jpg,0,{word}\nb.jpg,0,\nc.jpg,0,train\n")
        assert open_image_set("image_folder", tmp_path, options=options).val == [("a.jpg", 0)]
    (tmp_path / "all.csv").write_text("path,label,set\na.jpg,0,val\nb.jpg,0,valdation\n")
    with pytest.raises(
        DataError, match=r"all\.csv needs a split in each row; row 3 has 'valdation': write one of 1, .* validation"
    ):
        open_image_set("image_folder", tmp_path, options=options)
