"""JPEGs decoded where the network is: workers read files, and the device decodes, crops and flips them."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate
from torchvision.io import ImageReadMode, decode_jpeg

from gcp_repro.data.batch_memory import by_value
from gcp_repro.data.collate import collate
from gcp_repro.data.loading import Transform
from gcp_repro.data.reader import UnreadableImageError

__all__ = ["EncodedBatch", "collate_encoded", "decode_batch", "with_seed"]


class EncodedBatch:
    """Images on their way to the device. No dataclass and no tuple: Lightning would move the tensors of such to the device.

    Args:
        images: Each the bytes of a JPEG, `(N,)`, or an image that a worker had to decode, `(3, H, W)`; uint8, on the CPU.
        seeds: What the random transform of each is seeded by.
    """

    def __init__(self, images: Sequence[Tensor], seeds: Sequence[int]) -> None:
        self.images, self.seeds = images, seeds


def with_seed(image: Tensor | None) -> tuple[Tensor, int] | None:
    """Stands for the transform in a worker: the image as it is, and the seed that the transform would have had."""
    return None if image is None else (image, torch.default_generator.initial_seed())


def collate_encoded(items: Sequence[tuple[tuple[Tensor, int], int]]) -> tuple[EncodedBatch, Any]:
    """A batch of what `with_seed` gave, with labels `(B,)`."""
    images, labels = zip(*items, strict=True)
    pixels = [by_value(image) for image, _ in images]
    return EncodedBatch(pixels, [seed for _, seed in images]), by_value(default_collate(list(labels)))


def decode_batch(batch: EncodedBatch, transform: Transform, device: torch.device) -> Tensor:
    """The images on a device, transformed there with the random numbers that a worker would have drawn.

    Returns:
        `(B, ..., 3, H, W)`, uint8.

    Raises:
        UnreadableImageError: A file that cannot be decoded there.
    """
    encoded = [image for image in batch.images if image.ndim == 1]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # its successor, torchcodec, is not needed for this alone
            decoded = iter(decode_jpeg(encoded, mode=ImageReadMode.RGB, device=device) if encoded else [])
    except RuntimeError as error:
        raise UnreadableImageError(
            f"readable JPEGs are needed to decode them on {device}; one of {len(encoded)} is none there ({error}): set "
            "data.decode_on=workers to learn its name"
        ) from error
    generator = torch.default_generator
    state = generator.get_state()
    samples = []
    try:
        for image, seed in zip(batch.images, batch.seeds, strict=True):
            generator.manual_seed(seed)
            samples.append((transform(next(decoded) if image.ndim == 1 else image.to(device)), 0))
    finally:
        generator.set_state(state)
    images: Tensor = collate(samples)[0]
    return images.to(device)
