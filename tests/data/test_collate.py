import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from gcp_repro.data.collate import collate


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
