import io
import sys
import tarfile

import datasets
import pyarrow as pa
import pytest
import torch
import webdataset
from PIL import Image
from pyarrow import parquet

from gcp_repro.data.streams.data_module import StreamDataModule
from gcp_repro.data.streams.formats import expand_urls
from gcp_repro.data.tiny import Tiny, write_tiny
from gcp_repro.errors import DataError, OptionError, UnknownNameError
from tests.fakes.shards import stream, write_shards

SHARDS = "imagenet1k-{}-{{0000..0001}}.tar"


@pytest.fixture
def root(tmp_path):
    return write_tiny("imagenet_webdataset", tmp_path / "shards", Tiny(classes=3, train=6, val=2, size=(24, 20)))


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def urls_of(root):
    return [str(root / SHARDS.format(split)) for split in ("train", "validation")]


def make(root, **options):
    module = StreamDataModule(
        "webdataset", *urls_of(root), **({"batch_size": 4, "image_size": 16, "num_classes": 3, "allow_partial": True} | options)
    )
    module.setup("fit")
    return module


def collect(loader):
    batches = list(loader)
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


def test_evaluation_keeps_the_order_of_the_shards(root):
    assert collect(make(root).val_dataloader())[1].tolist() == [0, 1, 2, 0, 1, 2]


def test_training_shards_are_not_opened_for_an_evaluation(root):
    for path in root.glob("*train*"):
        path.unlink()
    module = StreamDataModule("webdataset", *urls_of(root), val_images=6, image_size=16)
    module.setup("validate")
    assert len(collect(module.val_dataloader())[1]) == 6


def test_parquet_gives_the_same_images(tmp_path, root):
    datasets.disable_progress_bars()
    parquet = write_tiny("imagenet_parquet", tmp_path / "parquet", Tiny(classes=3, train=6, val=2, size=(24, 20)))
    train, val = (str(next((parquet / "data").glob(f"{name}-*"))) for name in ("train", "validation"))
    module = StreamDataModule("parquet", train, [val], image_size=16, num_classes=3, train_images=18, val_images=6)
    module.setup("fit")
    images, labels = collect(module.val_dataloader())
    theirs, their_labels = collect(make(root).val_dataloader())
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(images[labels == 1], theirs[their_labels == 1])
    assert len(collect(module.train_dataloader())[1]) == 18


def test_skipping_is_counted_and_never_shrinks_an_evaluation(root):
    for split in ("train", "validation"):
        path = root / f"imagenet1k-{split}-0000.tar"
        with tarfile.open(path) as archive:
            files = [(member, archive.extractfile(member).read()) for member in archive]
        with tarfile.open(path, "w") as archive:
            for number, (member, data) in enumerate(files):
                (path.parent / "member").write_bytes(data[:20] if number == 1 else data)
                archive.add(path.parent / "member", member.name)
    module = make(root, on_error="skip")
    assert len(collect(module.train_dataloader())[1]) == 17
    assert len(collect(module.val_dataloader())[1]) == 6
    assert module.run_record() == {
        "train_images": 18, "unreadable_train_images": 1, "val_images": 6, "unreadable_val_images": 1,
    }  # fmt: skip
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"a readable image is needed; .*/imagenet1k-train-0000.tar: n01440764_0 is none"):
            collect(make(root, num_workers=workers).train_dataloader())


def test_a_batch_without_a_readable_image_is_replaced(root):
    for path in root.glob("*train-0000.tar"):
        with tarfile.open(path) as archive:
            names = archive.getnames()
            labels = {name: archive.extractfile(name).read() for name in names if name.endswith(".cls")}
        with tarfile.open(path, "w") as archive:
            for name in names:
                (root / "member").write_bytes(labels.get(name, b"no image"))
                archive.add(root / "member", name)
    batches = list(make(root, on_error="skip", batch_size=1, seed=0).train_dataloader())
    assert [len(labels) for _, labels in batches] == [1] * 18


def test_a_sample_without_label_is_named(root):
    path = root / "imagenet1k-validation-0001.tar"
    with tarfile.open(path, "w") as archive:
        (root / "x.jpg").write_bytes(b"x")
        archive.add(root / "x.jpg", "x.jpg")
    with pytest.raises(
        DataError, match=rf"needs an image and its label in \.cls or \.json; x in {path} has jpg: write the shard anew"
    ):
        make(root)


def test_labels_in_json_and_any_kind_of_image(tmp_path):
    with webdataset.TarWriter(str(tmp_path / "a.tar")) as writer:
        for number, suffix in enumerate(["jpeg", "JPG", "png", "webp"]):
            image = Image.new("RGB", (20, 20), (number, 0, 0))
            file = io.BytesIO()
            image.save(file, {"png": "PNG", "webp": "WEBP"}.get(suffix, "JPEG"))
            writer.write({"__key__": str(number), "json": {"label": number}, suffix: file.getvalue()})
    module = stream([str(tmp_path / "a.tar")])
    module.setup("fit")
    assert collect(module.val_dataloader())[1].tolist() == [0, 1, 2, 3]


def test_numbers_of_images_are_checked_before_training(root, caplog):
    message = r"data\.train_urls holds 18 images in 2 shards instead of 1,281,167: name all shards, or set data\.train_images to"
    with pytest.raises(DataError, match=message + ".*; or set data.allow_partial=true"):
        make(root, allow_partial=False)
    with pytest.raises(DataError, match=r"data\.val_urls holds 6 images in 2 shards instead of 7"):
        make(root, allow_partial=False, train_images=18, val_images=7)
    make(root, allow_partial=False, train_images=18, val_images=6)
    caplog.clear()
    make(root)
    assert "instead of 1,281,167; going on, because data.allow_partial=true" in caplog.text


def test_labels_out_of_range_are_named(root):
    with pytest.raises(DataError, match=r"labels from 0 to 1; out of range: .*0000\.tar: n01484850_\d \(label 2\)"):
        make(root, num_classes=2)


def test_a_part_of_the_classes_and_images(tmp_path):
    urls = write_shards(tmp_path / "shards", "webdataset")
    module = stream(urls, classes=["3", "8", "20"])
    module.setup("fit")
    assert module.num_classes == 3
    assert sorted(collect(module.train_dataloader())[1].tolist()) == [0, 1, 2]
    assert module._sources["train"].labels.tolist() == [0, 1, 2]
    expected, _ = collect(stream_of_all(urls).val_dataloader())
    assert torch.equal(collect(module.val_dataloader())[0], expected[[3, 8, 20]])


def stream_of_all(urls):
    module = stream(urls)
    module.setup("fit")
    return module


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_a_missing_or_damaged_shard_is_named(format, tmp_path):
    (tmp_path / "text").write_text("neither tar nor parquet " * 100)
    for name in ("none", "text"):
        module = StreamDataModule(format, str(tmp_path / name), "val", image_size=16)
        with pytest.raises(DataError, match=rf"a whole shard is needed; reading {tmp_path / name} gave .*: check its address"):
            module.setup("fit")


@pytest.mark.parametrize("absent", ["image", "label"])
def test_a_table_without_a_column_is_named_before_training(absent, tmp_path):
    url = str(tmp_path / "other.parquet")
    parquet.write_table(pa.table({"image": [b"x"], "label": [0]}).drop_columns([absent]), url)
    with pytest.raises(DataError, match=rf"{url} needs the columns image and label; it lacks {absent}: it is another table"):
        stream([url], format="parquet").setup("fit")


def test_patterns_of_urls():
    assert expand_urls(["a-{1..2}-{08..09}.tar", "b.tar"]) == ["a-1-08.tar", "a-1-09.tar", "a-2-08.tar", "a-2-09.tar", "b.tar"]
    assert expand_urls("pipe:cat {x}") == ["pipe:cat {x}"]


def test_wrong_options(tmp_path, root, monkeypatch):
    with pytest.raises(UnknownNameError, match="no format of shards 'tar'; known: parquet, webdataset"):
        StreamDataModule("tar", "a", "b")
    with pytest.raises(OptionError, match="shuffle_buffer needs at least 1 image; got 0"):
        StreamDataModule("parquet", "a", "b", shuffle_buffer=0)
    with pytest.raises(OptionError, match="readers needs at least 1 shard at a time; got 0"):
        StreamDataModule("parquet", "a", "b", readers=0)
    with pytest.raises(OptionError, match=r"data\.val_urls needs at least one shard; got none: name all shards"):
        StreamDataModule("parquet", "a", [])
    with pytest.raises(OptionError, match=r"need each shard once; named twice: b, d: remove the repetition"):
        StreamDataModule("parquet", ["a", "b", "d"], ["b", "c", "d"])
    with pytest.raises(OptionError, match=r"named twice: a-1: "):
        StreamDataModule("parquet", ["a-{1..2}", "a-1"], "b")
    with pytest.raises(UnknownNameError, match=r"no policy data\.on_error 'keep'"):
        StreamDataModule("parquet", "a", "b", on_error="keep")
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(
        DataError, match=r"needs the library webdataset; it is not installed: pip install 'gcp_repro\[webdataset\]'"
    ):
        make(root)
