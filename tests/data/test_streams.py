"""Remote shards: fetched once, and then files like any other."""

import contextlib
import functools
import http.server
import os
import sys
import tarfile
import threading
from pathlib import Path
from types import SimpleNamespace

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from gcp_repro.data.streams import StreamDataModule, default_cache_dir, expand_urls
from gcp_repro.errors import DataError, OptionError, UnknownNameError
from tests.fakes.shards import SIZES, copies, stream, write_shards

TOTAL = sum(SIZES)
FORMATS = ["webdataset", "parquet"]


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=FORMATS)
def shards(request, tmp_path):
    return {"format": request.param, "train_urls": write_shards(tmp_path / "shards", request.param)}


@contextlib.contextmanager
def served(folder):
    """Addresses of a folder's files on a server of this machine, and the paths that were asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *_):
            pass

    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def process(rank=0, world_size=1, epoch=0, stage="fit"):
    """What a data module asks of its Trainer."""
    shares = {"global_rank": rank, "world_size": world_size, "accumulate_grad_batches": 1}
    return SimpleNamespace(current_epoch=epoch, state=SimpleNamespace(fn=stage), **shares)


def opened(shards, *, epoch=0, rank=0, world_size=1, **options):
    """A data module as a process of a run has it."""
    module = stream(**shards, **options)
    module.trainer = process(rank, world_size, epoch)
    module.setup("fit")
    return module


def labels_of(loader):
    return [label for _, labels in loader for label in labels.tolist()]


def test_every_sample_once_over_uneven_shards_and_processes(shards):
    for world_size in (1, 2, 3, 5):
        for name in ("train_dataloader", "val_dataloader"):
            shares = [opened(shards, rank=rank, world_size=world_size, batch_size=2 * world_size) for rank in range(world_size)]
            loaders = [getattr(share, name)() for share in shares]
            assert sorted(label for loader in loaders for label in labels_of(loader)) == list(range(TOTAL))
            assert {len(loader) for loader in loaders} == {len(loaders[0])}


def test_order_and_images_do_not_depend_on_workers_and_resume_in_mid_epoch(shards):
    whole = list(opened(shards, epoch=3).train_dataloader())
    assert [labels.tolist() for _, labels in whole] != [labels.tolist() for _, labels in opened(shards).train_dataloader()]
    interrupted = opened(shards, epoch=3, num_workers=2).train_dataloader()
    batches = iter(interrupted)
    seen = [next(batches) for _ in range(3)]
    state = interrupted.state_dict()
    del batches
    resumed = opened(shards, epoch=3, num_workers=1).train_dataloader()
    resumed.load_state_dict(state)
    for (images, labels), (other_images, other_labels) in zip(seen + list(resumed), whole, strict=True):
        assert labels.tolist() == other_labels.tolist()
        assert torch.equal(images, other_images)


def test_both_formats_hold_the_same_images(tmp_path):
    images = []
    for form in FORMATS:
        module = opened({"format": form, "train_urls": write_shards(tmp_path / form, form)})
        assert labels_of(module.val_dataloader()) == list(range(TOTAL))
        images.append(torch.cat([images for images, _ in module.val_dataloader()]))
    assert torch.equal(*images)


@pytest.mark.parametrize("format", FORMATS)
def test_a_remote_shard_is_fetched_once(format, tmp_path):
    names = [Path(path).name for path in write_shards(tmp_path / "shards", format)]
    copies([str(tmp_path / "shards" / name) for name in names])
    with served(tmp_path / "shards") as (address, asked):
        urls = [f"{address}/{name}" for name in names]
        shards = {"format": format, "train_urls": urls, "val_urls": [f"{url}.copy" for url in urls]}
        for _ in range(2):
            module = opened(shards)
            assert sorted(labels_of(module.train_dataloader())) == list(range(TOTAL))
            assert module.run_record()["train_images"] == TOTAL
        assert sorted(set(asked)) == sorted(asked)
        assert len(asked) == 2 * len(SIZES)
    assert all("127.0.0.1" not in path.name for path in default_cache_dir().iterdir())


def test_an_evaluation_fetches_no_training_shard(tmp_path):
    urls = write_shards(tmp_path / "shards", "webdataset")
    module = stream(["file:///nowhere.tar"], urls)
    module.trainer = process(stage="validate")
    module.prepare_data()
    module.setup("validate")
    assert len(labels_of(module.val_dataloader())) == TOTAL
    module.trainer.state.fn = "fit"
    with pytest.raises(DataError, match=r"reading file:///nowhere\.tar gave FileNotFoundError"):
        module.prepare_data()


def test_commands_and_local_paths_as_they_are(tmp_path):
    folder = tmp_path / "set[1] @x::y {0..1}"
    (path,) = write_shards(folder, "webdataset", sizes=[2])
    (other,) = write_shards(tmp_path / "other", "webdataset", sizes=[3], first=2)
    module = opened({"train_urls": [path, f"pipe:cat '{other}'"], "val_urls": copies([path, other])})
    assert sorted(labels_of(module.train_dataloader())) == list(range(5))
    (fetched,) = [at for at in default_cache_dir().iterdir() if at.suffix == ".tar"]
    assert fetched.read_bytes() == Path(other).read_bytes()


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("cat '{}'; exit 3", "CalledProcessError: .* returned non-zero exit status 3"),
        ("head -c 1024 '{}'", "blocks that end an archive"),
    ],
)
def test_a_shard_that_does_not_arrive_whole_is_named(tmp_path, command, words):
    (path,) = write_shards(tmp_path / "shards", "webdataset", sizes=[2])
    with tarfile.open(path) as archive:
        end = archive.getmembers()[0].offset_data + 512
    command = command.format(path).replace("1024", str(end))
    with pytest.raises(DataError, match=words):
        opened({"train_urls": [f"pipe:{command}"], "val_urls": copies([path])})


@pytest.mark.parametrize("format", FORMATS)
def test_a_missing_or_damaged_shard_is_named(format, tmp_path):
    (tmp_path / "text").write_text("neither tar nor parquet " * 100)
    for name in ("none", "text"):
        with pytest.raises(DataError, match=rf"(shard|archive) is needed; .*{tmp_path / name}"):
            StreamDataModule(format, str(tmp_path / name), "val", image_size=16).setup("fit")


@pytest.mark.parametrize("absent", ["image", "label"])
def test_a_table_without_a_column_is_named_before_training(absent, tmp_path):
    url = str(tmp_path / "other.parquet")
    parquet.write_table(pa.table({"image": [b"x"], "label": [0]}).drop_columns([absent]), url)
    with pytest.raises(DataError, match=rf"{url} needs a column '{absent} or"):
        stream([url], format="parquet").setup("fit")


def test_numbers_of_images_and_labels_are_checked_before_training(tmp_path, caplog):
    urls = write_shards(tmp_path / "shards", "webdataset")
    with pytest.raises(DataError, match=r"data\.train_urls holds 22 images in 4 shards instead of 23: name all shards"):
        opened({"train_urls": urls}, train_images=23)
    opened({"train_urls": urls}, train_images=23, allow_partial=True)
    assert "instead of 23; going on, because data.allow_partial=true" in caplog.text
    with pytest.raises(DataError, match=r"labels from 0 to 20; out of range: .*003\.tar: .*0021\.jpg \(label 21\)"):
        opened({"train_urls": urls}, num_classes=21)


def test_a_part_of_the_classes_and_images(tmp_path):
    urls = write_shards(tmp_path / "shards", "webdataset")
    module = opened({"train_urls": urls}, classes=[3, 8, "20"])
    assert module.num_classes == 3
    assert sorted(labels_of(module.train_dataloader())) == [0, 1, 2]
    drawn = opened({"train_urls": urls}, classes=50)
    assert (drawn.num_classes, drawn._sources["train"].labels.max() < 50) == (50, True)


def test_patterns_of_urls():
    assert expand_urls(["a-{1..2}-{08..09}.tar", "b.tar"]) == ["a-1-08.tar", "a-1-09.tar", "a-2-08.tar", "a-2-09.tar", "b.tar"]
    assert expand_urls("{10..08}.tar") == ["10.tar", "09.tar", "08.tar"]
    assert expand_urls("pipe:cat {x}") == ["pipe:cat {x}"]


def test_wrong_options(monkeypatch, tmp_path):
    with pytest.raises(UnknownNameError, match="no format of shards 'tar'; known: parquet, webdataset"):
        StreamDataModule("tar", "a", "b")
    with pytest.raises(OptionError, match=r"data\.val_urls needs at least one shard; got none: name all shards"):
        StreamDataModule("parquet", "a", [])
    with pytest.raises(OptionError, match=r"data\.train_urls needs at least one shard; got none: name all shards"):
        StreamDataModule("parquet", "", "a")
    with pytest.raises(OptionError, match=r"needs a list of shards; got 'a\.tar::b\.tar': write \[FIRST,SECOND\] for FIRST::SEC"):
        StreamDataModule("webdataset", "a.tar::b.tar", "c.tar")
    with pytest.raises(OptionError, match=r"need each shard once; named twice: b, d: remove the repetition"):
        StreamDataModule("parquet", ["a", "b", "d"], ["b", "c", "d"])
    with pytest.raises(UnknownNameError, match=r"no policy data\.on_error 'keep'"):
        StreamDataModule("parquet", "a", "b", on_error="keep")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(DataError, match=r'needs the library fsspec; it is not installed: pip install "gcp_repro\[streams\]"'):
        StreamDataModule("parquet", "https://host/a", "b").setup("fit")
    assert default_cache_dir() == Path(os.environ["XDG_CACHE_HOME"]) / "gcp_repro" / "shards"


def test_a_list_that_was_written_out_is_taken_as_it_is(caplog):
    urls = [f"https://host/own-train-{number:05d}-of-00009.tar" for number in (0, 2, 5)]
    assert stream(format="webdataset", train_urls=urls).urls["train"] == urls
    assert not caplog.text


def test_a_web_page_in_a_shards_place_is_named_and_not_kept(shards, tmp_path):
    page = tmp_path / "shards" / "page.html"
    page.write_text("<!DOCTYPE html><title>Log in</title>")
    with served(page.parent) as (address, _):
        module = stream(**(shards | {"train_urls": [f"{address}/page.html?key=1"]}))
        with pytest.raises(DataError, match=rf"a shard is needed at {address}/page\.html; what comes from there is a web page: "):
            module.prepare_data()
    assert not [path for path in default_cache_dir().rglob("*") if path.is_file() and b"html" in path.read_bytes()]
