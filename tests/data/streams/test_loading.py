"""Order, sharing out and resuming of streams, with real shards and real workers."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from gcp_repro.data.streams.loading import stream_order
from gcp_repro.errors import OptionError
from tests.fakes.shards import SIZES, stream, write_shards

TOTAL = sum(SIZES)
FORMATS = ["webdataset", "parquet"]

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # three workers on two processors


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(params=FORMATS)
def shards(request, tmp_path):
    return {"format": request.param, "train_urls": write_shards(tmp_path / "shards", request.param)}


def opened(shards, *, epoch=0, rank=0, world_size=1, **options):
    """A data module as a process of a run has it, whose shards are indexed."""
    module = stream(**shards, **(options | {"batch_size": options.get("batch_size", 4) * world_size}))
    module.setup("fit")
    module.trainer = SimpleNamespace(current_epoch=epoch, global_rank=rank, world_size=world_size, accumulate_grad_batches=1)
    return module


def labels_of(loader):
    return [labels.tolist() for _, labels in loader]


def assert_same(batches, others):
    assert len(batches) == len(others)
    for (images, labels), (other_images, other_labels) in zip(batches, others, strict=True):
        assert labels.tolist() == other_labels.tolist()
        assert torch.equal(images, other_images)


def test_order_and_augmentation_do_not_depend_on_the_number_of_workers(shards):
    expected = list(opened(shards, epoch=3).train_dataloader())
    assert sorted(torch.cat([labels for _, labels in expected]).tolist()) == list(range(TOTAL))
    for workers in (1, 2, 3):
        assert_same(list(opened(shards, epoch=3, num_workers=workers).train_dataloader()), expected)


def test_order_and_augmentation_depend_on_seed_and_epoch_alone(shards):
    expected = list(opened(shards, seed=1, epoch=1).train_dataloader())
    torch.manual_seed(5)
    assert_same(list(opened(shards, seed=1, epoch=1, readers=1).train_dataloader()), expected)
    for other in (opened(shards, seed=2, epoch=1), opened(shards, seed=1, epoch=2)):
        assert labels_of(other.train_dataloader()) != [labels.tolist() for _, labels in expected]


def test_an_epoch_after_the_other_with_the_same_workers(shards):
    loader = opened(shards, num_workers=2).train_dataloader()
    for epoch in range(3):
        loader.batch_sampler.sampler.set_epoch(epoch)
        assert labels_of(loader) == labels_of(opened(shards, epoch=epoch).train_dataloader())


@pytest.mark.parametrize("workers", [0, 2])
def test_evaluation_keeps_the_order_of_the_shards(shards, workers):
    batches = labels_of(opened(shards, num_workers=workers).val_dataloader())
    assert [label for batch in batches for label in batch] == list(range(TOTAL))


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
@pytest.mark.parametrize("loader", ["train_dataloader", "val_dataloader"])
def test_processes_share_every_sample_once_in_equally_many_batches(shards, world_size, loader):
    shares = [
        labels_of(getattr(opened(shards, rank=rank, world_size=world_size, batch_size=2), loader)()) for rank in range(world_size)
    ]
    assert sorted(label for share in shares for batch in share for label in batch) == list(range(TOTAL))
    assert {len(share) for share in shares} == {len(shares[0])}


@pytest.mark.parametrize("workers", [0, 1, 2, 3])
@pytest.mark.parametrize("world_size", [1, 2])
def test_resuming_in_mid_epoch_gives_the_rest_with_the_same_augmentation(shards, workers, world_size):
    options = {"epoch": 2, "rank": world_size - 1, "world_size": world_size, "batch_size": 2}
    whole = list(opened(shards, **options).train_dataloader())

    interrupted = opened(shards, num_workers=workers, **options).train_dataloader()
    batches = iter(interrupted)
    seen = [next(batches) for _ in range(3)]
    state = interrupted.state_dict()
    del batches

    resumed = opened(shards, num_workers=(workers + 1) % 4, **options).train_dataloader()
    resumed.load_state_dict(state)
    assert_same(seen + list(resumed), whole)
    resumed.batch_sampler.sampler.set_epoch(3)
    assert_same(list(resumed), list(opened(shards, **(options | {"epoch": 3})).train_dataloader()))


def test_resuming_leaves_shards_closed_that_have_been_used_up(tmp_path):
    urls = write_shards(tmp_path / "shards", "webdataset", sizes=[4] * 10)
    loader = opened({"train_urls": urls}, shuffle_buffer=1).train_dataloader()
    order = labels_of(loader)
    used_up = {urls[label // 4] for label in range(40)} - {urls[label // 4] for batch in order[6:] for label in batch}
    assert len(used_up) == 6
    for url in used_up:
        Path(url).unlink()
    loader.load_state_dict(loader.state_dict() | {"batches": 6})
    assert labels_of(loader) == order[6:]


def test_resuming_with_another_order_is_refused(tmp_path):
    shards = {"train_urls": write_shards(tmp_path / "shards", "webdataset")}
    state = opened(shards, batch_size=2).train_dataloader().state_dict()
    with pytest.raises(OptionError, match=r"order the epoch began with, data\.shuffle_buffer = 8; got 9: set it back"):
        opened(shards, batch_size=2, shuffle_buffer=9).train_dataloader().load_state_dict(state)
    with pytest.raises(OptionError, match=r"the number of processes = 1; got 2: set it back"):
        opened(shards, batch_size=1, world_size=2).train_dataloader().load_state_dict(state)
    with pytest.raises(OptionError, match=r"needs the batch size the epoch began with, 2 images over all processes; got 4"):
        opened(shards, batch_size=4).train_dataloader().load_state_dict(state)


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_process_reads_neighbouring_shards_and_moves_samples_by_less_than_the_buffer(world_size):
    shard_of_row = np.repeat(np.arange(50), np.random.default_rng(0).integers(0, 40, 50))
    order = stream_order(shard_of_row, seed=0, epoch=0, shuffle_buffer=100, world_size=world_size)
    assert sorted(order.tolist()) == list(range(len(shard_of_row)))
    shards_read = 0
    for rank in range(world_size):
        share = order[rank::world_size]
        shards = shard_of_row[share]
        shards_read += len(set(shards.tolist()))
        turns = [np.flatnonzero(shards == shard) for shard in set(shards.tolist())]
        assert all(turn[-1] - turn[0] < len(turn) + 2 * 100 for turn in turns)
        assert np.mean(np.diff(share) == 1) < 0.1
    assert shards_read <= len(set(shard_of_row.tolist())) + world_size - 1


def test_one_image_can_be_read_by_itself(shards):
    source = opened(shards)._sources["train"]
    image, label = source[7]
    assert (tuple(image.shape), label) == ((3, 20, 24), 7)
    assert source.storage.locate(source.name(7)).startswith(shards["train_urls"][2])
