import sys
import tarfile

import datasets
import pytest
import torch

from gcp_repro.data.stream_formats import expand_urls
from gcp_repro.data.streams import Share, StreamDataModule
from gcp_repro.data.tiny import Tiny, write_tiny
from gcp_repro.errors import DataError, OptionError, UnknownNameError

SHARDS = "imagenet1k-{}-{{0000..0001}}.tar"


@pytest.fixture
def root(tmp_path):
    return write_tiny("imagenet_webdataset", tmp_path / "shards", Tiny(classes=3, train=6, val=2, size=(24, 20)))


def make(root, **options):
    urls = (str(root / SHARDS.format(split)) for split in ("train", "validation"))
    module = StreamDataModule("webdataset", *urls, **({"batch_size": 4, "image_size": 16, "num_classes": 3} | options))
    module.setup("fit")
    return module


def collect(loader):
    batches = list(loader)
    return torch.cat([images for images, _ in batches]), torch.cat([labels for _, labels in batches])


@pytest.mark.parametrize("workers", [0, 2])
def test_one_process_sees_every_image_once(root, workers):
    images, labels = collect(make(root, num_workers=workers).train_dataloader())
    assert images.shape == (18, 3, 16, 16)
    assert sorted(labels.tolist()) == [0] * 6 + [1] * 6 + [2] * 6


def test_evaluation_keeps_the_order_of_the_shards(root):
    assert collect(make(root).val_dataloader())[1].tolist() == [0, 1, 2, 0, 1, 2]


def test_the_same_seed_and_epoch_give_the_same_stream(root):
    first, again, other = (collect(make(root, seed=seed).train_dataloader()) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert not torch.equal(first[1], other[1])


def test_parquet_gives_the_same_images(tmp_path, root):
    datasets.disable_progress_bars()
    parquet = write_tiny("imagenet_parquet", tmp_path / "parquet", Tiny(classes=3, train=6, val=2, size=(24, 20)))
    train, val = (str(next((parquet / "data").glob(f"{name}-*"))) for name in ("train", "validation"))
    module = StreamDataModule("parquet", train, [val], image_size=16, num_classes=3)
    module.setup("fit")
    images, labels = collect(module.val_dataloader())
    theirs, their_labels = collect(make(root).val_dataloader())
    assert labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert torch.equal(images[labels == 1], theirs[their_labels == 1])
    assert len(collect(module.train_dataloader())[1]) == 18


def test_processes_share_the_shards_and_take_the_same_number_of_steps(root):
    module = make(root)
    stream = module._streams["train"]
    keys = []
    for rank in range(2):
        stream.share, stream.samples = Share(rank, 2), 20
        rows = list(stream)
        assert len(rows) == 8  # 20 // 2 processes, in whole batches of 4
        keys.append({image.float().mean().item() for image, _ in rows})
    assert not keys[0] & keys[1]


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
    assert module.run_record() == {"unreadable_train_images": 1, "unreadable_val_images": 1}
    with pytest.raises(DataError, match="a readable image is needed; n01440764_0 is none"):
        collect(make(root).train_dataloader())


def test_a_sample_without_label_is_named(root):
    path = root / "imagenet1k-validation-0001.tar"
    with tarfile.open(path, "w") as archive:
        (root / "x.jpg").write_bytes(b"x")
        archive.add(root / "x.jpg", "x.jpg")
    with pytest.raises(DataError, match=rf"x in {path} has jpg: write the shard anew"):
        collect(make(root).val_dataloader())


@pytest.mark.parametrize("format", ["webdataset", "parquet"])
def test_a_missing_or_damaged_shard_is_named(format, tmp_path):
    (tmp_path / "text").write_text("neither tar nor parquet " * 100)
    for name in ("none", "text"):
        module = StreamDataModule(format, str(tmp_path / name), str(tmp_path / name), image_size=16)
        module.setup("fit")
        with pytest.raises(DataError, match=rf"a whole shard is needed; reading {tmp_path / name} gave .*: check its address"):
            list(module.val_dataloader())


def test_patterns_of_urls():
    assert expand_urls(["a-{1..2}-{08..09}.tar", "b.tar"]) == ["a-1-08.tar", "a-1-09.tar", "a-2-08.tar", "a-2-09.tar", "b.tar"]
    assert expand_urls("pipe:cat {x}") == ["pipe:cat {x}"]


def test_wrong_options(tmp_path, root, monkeypatch):
    with pytest.raises(UnknownNameError, match="no format of shards 'tar'; known: parquet, webdataset"):
        StreamDataModule("tar", "a", "b")
    with pytest.raises(OptionError, match="shuffle_buffer needs at least 1 image; got 0"):
        StreamDataModule("parquet", "a", "b", shuffle_buffer=0)
    with pytest.raises(OptionError, match="at least one shard a process; got 0 shards"):
        StreamDataModule("parquet", [], []).setup("fit")
    monkeypatch.setitem(sys.modules, "webdataset", None)
    with pytest.raises(
        DataError, match=r"needs the library webdataset; it is not installed: pip install 'gcp_repro\[webdataset\]'"
    ):
        collect(make(root).train_dataloader())
