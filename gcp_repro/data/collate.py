"""From samples to a batch, in the order in memory that images are decoded in and networks on GPUs like best."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from gcp_repro.data.batch_memory import by_value, stack_channels_last

__all__ = ["collate"]


def collate(items: Sequence[tuple[Any, Any]]) -> Any:
    """What `default_collate` gives; images of bytes are stacked with their channels last in memory, which costs a sixth.

    Args:
        items: Pairs of an image and its label; an image is `(..., C, H, W)`, or anything that `default_collate` takes.

    Returns:
        Images `(B, ..., C, H, W)`, of 4 dimensions in the memory format `torch.channels_last`, and labels `(B,)`.
    """
    images, labels = zip(*items, strict=True)
    first = images[0]
    if not isinstance(first, Tensor) or first.ndim < 3 or first.dtype != torch.uint8:
        return default_collate(list(items))
    return stack_channels_last(images), by_value(default_collate(list(labels)))
