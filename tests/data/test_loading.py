import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from gcp_repro.data.loading import EpochSampler, ResumableLoader, SampleKey, SeededDataset, ShardedBatchSampler
from gcp_repro.errors import DataError, OptionError


def keys_of(num_samples, *, seed=0, epoch=0, shuffle=True):
    sampler = EpochSampler(num_samples, seed=seed, shuffle=shuffle)
    sampler.set_epoch(epoch)
    return list(sampler)


def loader_of(num_samples=23, *, seed=0, transform=None, num_workers=0, batch_size=4, rank=0, world_size=1):
    source = TensorDataset(torch.zeros(num_samples, 1), torch.arange(num_samples))
    batches = ShardedBatchSampler(
        EpochSampler(num_samples, seed=seed, shuffle=True), batch_size * world_size, rank=rank, world_size=world_size
    )
    return ResumableLoader(SeededDataset(source, transform, seed=seed), batches, num_workers=num_workers)


def test_order_depends_on_seed_and_epoch_alone():
    assert keys_of(50, seed=1, epoch=2) == keys_of(50, seed=1, epoch=2)
    rows = [[key.row for key in keys_of(50, seed=seed, epoch=epoch)] for seed, epoch in [(0, 0), (0, 1), (1, 0)]]
    assert all(sorted(order) == list(range(50)) for order in rows)
    assert rows[0] != rows[1]
    assert rows[0] != rows[2]


def test_without_shuffling_the_order_is_natural():
    assert keys_of(5, epoch=3, shuffle=False) == [SampleKey(3, row) for row in range(5)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("num_samples", [4, 7, 8, 9, 16, 17, 18, 23, 24, 25])
def test_processes_share_every_sample_once_in_equally_many_batches(num_samples, world_size):
    sampler = EpochSampler(num_samples, seed=3, shuffle=True)
    size = 4 * world_size
    shares = [ShardedBatchSampler(sampler, size, rank=rank, world_size=world_size) for rank in range(world_size)]
    batches = [list(share) for share in shares]
    assert sorted(key.row for share in batches for batch in share for key in batch) == list(range(num_samples))
    assert {len(share) for share in batches} == {len(shares[0])}
    assert all(1 <= len(batch) <= 5 for share in batches for batch in share)


def test_global_batches_do_not_depend_on_the_number_of_processes():
    def global_batches(world_size):
        sampler = EpochSampler(64, seed=0, shuffle=True)
        shares = [ShardedBatchSampler(sampler, 8, rank=rank, world_size=world_size) for rank in range(world_size)]
        return [sorted(key for batch in step for key in batch) for step in zip(*shares, strict=True)]

    assert global_batches(1) == global_batches(2) == global_batches(4)


@pytest.mark.parametrize(("world_size", "passes"), [(1, 1), (1, 3), (2, 1), (2, 3), (3, 2), (4, 4)])
@pytest.mark.parametrize("num_samples", [48, 49, 53, 60, 71, 95, 96])
def test_passes_share_each_step_and_weigh_as_the_whole_of_it(num_samples, world_size, passes):
    sampler = EpochSampler(num_samples, seed=1, shuffle=True)
    sampler.set_epoch(2)
    order = list(sampler)
    shares = [
        ShardedBatchSampler(sampler, 48, rank=rank, world_size=world_size, passes=passes) for rank in range(world_size)
    ]  # fmt: skip
    batches = [list(share) for share in shares]
    assert {len(share) for share in batches} == {len(shares[0])}
    assert sorted(key for share in batches for batch in share for key in batch) == sorted(order)
    for share, own in zip(shares, batches, strict=True):
        assert [share.keys_of(number) for number in range(len(own))] == own
        assert all(1 <= len(batch) <= 48 // (world_size * passes) + 1 for batch in own)
    for step in range(shares[0].steps):
        numbers = range(step * passes, min((step + 1) * passes, len(batches[0])))
        keys = [key for share in batches for number in numbers for key in share[number]]
        assert sorted(keys) == sorted(order[step * 48 : step * 48 + len(keys)])
        # the mean over processes and passes of weighted means is the mean over the step's samples
        means = [
            shares[rank].loss_weight(number) * np.mean([key.row for key in batches[rank][number]])
            for rank in range(world_size)
            for number in numbers
        ]
        assert sum(means) / (world_size * passes) == pytest.approx(np.mean([key.row for key in keys]))


def test_an_uneven_step_is_refused():
    with pytest.raises(ValueError, match="10 samples cannot be shared out evenly over 2 processes and 2 passes"):
        ShardedBatchSampler(EpochSampler(30, seed=0, shuffle=False), 10, world_size=2, passes=2)


def test_a_position_counts_steps_where_the_passes_change():
    state = loader_of(batch_size=4).state_dict() | {"batches": 2}
    source = TensorDataset(torch.zeros(23, 1), torch.arange(23))
    batches = ShardedBatchSampler(EpochSampler(23, seed=0, shuffle=True), 4, passes=2)
    resumed = ResumableLoader(SeededDataset(source, None, seed=0), batches)
    resumed.load_state_dict(state)
    rest = torch.cat([labels for _, labels in resumed]).tolist()
    assert rest == [key.row for key in keys_of(23)][8:]


def test_fewer_samples_than_processes_is_refused():
    with pytest.raises(
        DataError, match=r"each of the 4 processes needs at least one sample; the data set has 3: use fewer devices"
    ):
        ShardedBatchSampler(EpochSampler(3, seed=0, shuffle=False), 8, world_size=4)


def test_augmentation_depends_on_seed_epoch_and_row_alone():
    source = TensorDataset(torch.zeros(3, 4), torch.arange(3))
    dataset = SeededDataset(source, lambda image: image + torch.rand(4), seed=7)
    torch.manual_seed(1)
    first = dataset[SampleKey(0, 1)][0]
    torch.manual_seed(2)
    state = torch.get_rng_state()
    assert torch.equal(pickle.loads(pickle.dumps(first)), dataset[SampleKey(0, 1)][0])
    assert torch.equal(torch.get_rng_state(), state), "the global generator must be left as it was"
    others = [dataset[SampleKey(1, 1)][0], dataset[SampleKey(0, 2)][0]]
    others.append(SeededDataset(source, dataset.transform, seed=8)[SampleKey(0, 1)][0])
    assert all(not torch.equal(first, other) for other in others)


def test_samples_fetched_together_are_those_fetched_one_by_one():
    dataset = SeededDataset(TensorDataset(torch.zeros(4, 4), torch.arange(4)), AddNoise(), seed=7)
    state = torch.get_rng_state()
    batch = dataset.__getitems__([SampleKey(2, row) for row in (3, 0, 2)])
    together = [*batch]
    assert (len(batch), batch[1][1], [label for _, label in batch]) == (3, 0, [3, 0, 2])  # also by number, and again
    assert torch.equal(torch.get_rng_state(), state)
    for row, (image, label) in zip((3, 0, 2), together, strict=True):
        assert label == row
        assert torch.equal(image, dataset[SampleKey(2, row)][0])


class AddNoise:
    def __call__(self, image):
        return image + torch.rand_like(image)


class Drawn:
    """A transform of a user's own, which draws from other generators than torch's."""

    def __call__(self, image):
        return torch.tensor([random.random(), np.random.rand()])  # noqa: NPY002  as users do


def test_workers_of_other_processes_draw_other_numbers():
    drawn = []
    for rank in (0, 1):
        torch.manual_seed(0)  # of which the workers' seeds follow, in every process alike
        drawn += [batch for batch, _ in loader_of(8, transform=Drawn(), num_workers=1, rank=rank, world_size=2)]
    assert torch.cat(drawn).unique().numel() == 16


def test_batches_do_not_depend_on_the_number_of_workers():
    batches = [list(loader_of(transform=AddNoise(), num_workers=workers)) for workers in (0, 1, 2)]
    for one, two, three in zip(*batches, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[0], three[0])
        assert torch.equal(one[1], three[1])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_position_resumes_in_mid_epoch(num_workers):
    def rows(loader, epoch):
        loader.batch_sampler.sampler.set_epoch(epoch)
        return [batch[1].tolist() for batch in loader]

    interrupted = loader_of(num_workers=num_workers)
    interrupted.batch_sampler.sampler.set_epoch(4)
    iterator = iter(interrupted)
    seen = [next(iterator)[1].tolist() for _ in range(2)]
    state = interrupted.state_dict()

    resumed = loader_of(num_workers=num_workers)
    resumed.load_state_dict(state)
    assert seen + rows(resumed, 4) == rows(loader_of(), 4)
    assert rows(resumed, 5) == rows(loader_of(), 5), "the epoch after is a whole one"


def test_position_of_another_epoch_is_not_used():
    loader = loader_of()
    list(loader)
    resumed = loader_of()
    resumed.load_state_dict(loader.state_dict())
    resumed.batch_sampler.sampler.set_epoch(1)
    assert len(list(resumed)) == len(resumed) == 6


def test_resuming_with_another_batch_size_is_refused():
    state = loader_of(batch_size=4).state_dict()
    with pytest.raises(OptionError, match=r"needs the batch size the epoch began with, 4 images over all processes; got 8"):
        loader_of(batch_size=8).load_state_dict(state)
    loader_of(batch_size=2, world_size=2).load_state_dict(state)
