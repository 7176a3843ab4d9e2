"""Memory that a thread keeps for the intermediate results of operators, instead of asking for it and giving it back each time.

On the CPU blocks of some hundred kilobytes come from the operating system and go back to it: every page of them is set to zero
when it is first touched, which for matrices of 256 x 256 takes as long as computing them (see `docs/performance.md`).
"""

from __future__ import annotations

import threading

import torch
from torch import Tensor

from gcp_repro.linalg.machinery.parallel import CHUNK_BYTES

__all__ = ["KEPT_BYTES", "scratch"]

KEPT_BYTES = 2 * CHUNK_BYTES
"""Largest block that is kept; larger ones belong to matrices whose arithmetic takes far longer than their memory."""


class _Blocks(threading.local):
    """Each thread's own, by name. Threads come to an end with their memory."""

    def __init__(self) -> None:
        self.by_name: dict[str, Tensor] = {}


_blocks = _Blocks()


def scratch(name: str, like: Tensor, *shape: int, dtype: torch.dtype | None = None) -> Tensor:
    """An uninitialised tensor that is valid until the same thread asks for the same name again.

    Results that leave an operator must not be made of it. Only plain tensors on the CPU are served from kept memory.

    Args:
        name: Of the intermediate result.
        like: Gives the device, and the dtype if none is given.
        shape: Of the result.
        dtype: Of the result.
    """
    dtype = like.dtype if dtype is None else dtype
    numel = 1
    for size in shape:
        numel *= size
    needed = numel * dtype.itemsize
    if type(like) is not Tensor or like.device.type != "cpu" or needed > KEPT_BYTES:
        return like.new_empty(shape, dtype=dtype)
    block = _blocks.by_name.get(name)
    if block is None or block.numel() < needed:
        with torch.inference_mode(False):  # for later calls outside it
            block = _blocks.by_name[name] = torch.empty(needed, dtype=torch.uint8, device="cpu")
    return block[:needed].view(dtype).view(shape)
