import gc

import pytest
import torch

from gcp_repro.data.batch_memory import PLACES
from gcp_repro.data.collate import collate
from gcp_repro.data.loading import EpochSampler, ResumableLoader, SeededDataset, ShardedBatchSampler

SIDE = 6


class Rows:
    """Image number r is full of r."""

    def __len__(self):
        return 40

    def __getitem__(self, row):
        return torch.full((3, SIDE, SIDE), row, dtype=torch.uint8), row


def loader_of(workers, epochs=1):
    batches = ShardedBatchSampler(EpochSampler(40, seed=0, shuffle=True), 3)
    return ResumableLoader(SeededDataset(Rows(), None, seed=0), batches, collate_fn=collate, num_workers=workers)


def right(images, labels):
    expected = labels.to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, SIDE, SIDE)
    return torch.equal(images, expected) and images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_place_is_used_again_once_its_batch_is_gone(workers):
    loader = loader_of(workers)
    addresses = set()
    for _ in range(2):
        for images, labels in loader:
            assert right(images, labels)
            addresses.add(images.data_ptr())
    assert len(addresses) <= workers * PLACES < len(loader)


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_that_are_kept_stay_as_they_are(workers):
    loader = loader_of(workers)
    kept = list(loader)
    views = [(images[1:], labels[1:]) for images, labels in loader]  # the batches themselves are gone
    gc.collect()
    for images, labels in [*kept, *views, *loader]:
        assert right(images, labels)


def test_an_epoch_that_is_broken_off_gives_its_places_back():
    loader = loader_of(1)
    for _ in range(2 * PLACES):
        images, labels = next(iter(loader))
        assert right(images, labels)
    del images
    for batch in loader:
        assert right(*batch)
    del batch
    assert not any(loader._memory.taken)
