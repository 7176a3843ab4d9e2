import weakref

import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from gcp_repro.data.collate import collate
from gcp_repro.errors import DataError


def samples(shape, count=3):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator), label) for label in range(count)]


@pytest.mark.parametrize("shape", [(3, 5, 4), (1, 5, 4), (2, 3, 5, 4)])
def test_values_are_those_of_default_collate(shape):
    items = samples(shape)
    images, labels = collate(items)
    expected, expected_labels = default_collate(items)
    assert torch.equal(images, expected)
    assert torch.equal(labels, expected_labels)


def test_images_are_channels_last_in_memory_also_from_a_worker():
    loader = DataLoader(samples((3, 5, 4)), batch_size=3, collate_fn=collate, num_workers=1)
    for images, _ in (collate(samples((3, 5, 4))), next(iter(loader))):
        assert images.is_contiguous(memory_format=torch.channels_last)
        assert torch.equal(images, default_collate(samples((3, 5, 4)))[0])
        assert images.float().is_contiguous(memory_format=torch.channels_last)  # what normalisation starts from


@pytest.mark.parametrize("image", [torch.rand(3, 4, 4), torch.zeros(5, dtype=torch.uint8), 7])
def test_anything_else_is_left_to_torch(image):
    images, labels = collate([(image, 1), (image, 2)])
    assert torch.equal(images, default_collate([image, image]))
    assert images.is_contiguous()
    assert labels.tolist() == [1, 2]


def test_images_that_could_not_be_read_are_left_out():
    items = samples((3, 5, 4))
    images, labels = collate([items[0], (None, 1), items[2]])
    assert torch.equal(images, torch.stack([items[0][0], items[2][0]]))
    assert labels.tolist() == [0, 2]
    assert collate([(None, 1)]) is None


def test_images_of_several_sizes_are_refused_also_those_that_could_be_spread():
    for other in (torch.zeros(3, 5, 5, dtype=torch.uint8), torch.zeros(3, 1, 1, dtype=torch.uint8), torch.zeros(3, 5, 4)):
        with pytest.raises(
            DataError, match=r"images of a batch need one size and type; got \(3, 5, 4\), torch.uint8, and \(3, .*: end"
        ):
            collate([*samples((3, 5, 4)), (other, 0)])


def test_images_are_taken_one_after_another():
    """Each is in its place before the next but one is made: beside the batch are the first and two others at most."""
    alive = weakref.WeakSet()

    class Items:
        def __len__(self):
            return 8

        def __iter__(self):
            for label in range(8):
                assert len(alive) <= 3
                image = torch.full((3, 2, 2), label, dtype=torch.uint8)
                alive.add(image)
                yield image, label
                del image

    images, labels = collate(Items())
    assert images[:, 0, 0, 0].tolist() == labels.tolist() == [*range(8)]
