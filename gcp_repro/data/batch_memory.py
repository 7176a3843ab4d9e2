"""How batches come from workers: in shared memory that is used again, as new pages cost ten times what is written to them."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable, Sequence
from multiprocessing.sharedctypes import RawArray
from typing import Any

import torch
from torch import Tensor

__all__ = ["BatchMemory", "by_value", "stack_channels_last"]

PLACES = 5  # of a worker: two batches that it makes ahead, and those that the reader holds

_numbers = itertools.count()
_memories: weakref.WeakValueDictionary[int, BatchMemory] = weakref.WeakValueDictionary()
_of_this_worker: list[BatchMemory] = []


def stack_channels_last(images: Sequence[Tensor]) -> Any:
    """The images `(B, ..., C, H, W)`, their channels last in memory.

    Args:
        images: Each `(..., C, H, W)`, uint8.

    Returns:
        A tensor; in a worker of a loader with a `BatchMemory` something that becomes one in the reader.
    """
    rows = [image.movedim(-3, -1) for image in images]
    shape = (len(rows), *rows[0].shape)
    memory = _of_this_worker[0] if _of_this_worker else None
    place = memory.free_place(math.prod(shape)) if memory is not None else None
    if memory is None or place is None:
        return torch.stack(rows).movedim(-1, -3)
    out = torch.empty(0, dtype=torch.uint8).set_(memory.places[place], 0, shape)  # type: ignore[call-overload]
    batch = torch.stack(rows, out=out).movedim(-1, -3)
    memory.taken[place] = 1
    return _Sent(_received, batch, memory.number, place)


def by_value(tensor: Tensor) -> Any:
    """The tensor; in such a worker, something that becomes one: to hand over shared memory costs a third of a millisecond."""
    return _Sent(torch.from_numpy, tensor.numpy()) if _of_this_worker else tensor


class BatchMemory:
    """Places that the workers of a loader write batches to, each again when no tensor lies in it any more.

    Made where the batches are read, for one set of workers, which stays: two sets would take each other's places. A batch that
    finds no free place takes new memory.

    Args:
        workers: Their number.
    """

    def __init__(self, workers: int) -> None:
        self.number = next(_numbers)
        self.taken = RawArray("B", workers * PLACES)
        self.places: dict[int, torch.UntypedStorage] = {}
        _memories[self.number] = self

    def use(self, worker: int) -> None:
        """Let `stack_channels_last` write here; the `worker_init_fn` of the loader."""
        nothing = torch.UntypedStorage._new_shared(0)  # type: ignore[no-untyped-call]
        self.places = dict.fromkeys(range(worker * PLACES, (worker + 1) * PLACES), nothing)
        _of_this_worker.append(self)

    def free_place(self, size: int) -> int | None:
        """A place of so many bytes that no tensor lies in; None if there is none."""
        place = next((place for place in self.places if not self.taken[place]), None)
        if place is not None and self.places[place].nbytes() < size:
            self.places[place] = torch.UntypedStorage._new_shared(size)  # type: ignore[no-untyped-call]
        return place


class _Sent:
    """Pickled as what a function makes of its arguments in the reader."""

    def __init__(self, function: Callable[..., Tensor], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def _received(batch: Tensor, number: int, place: int) -> Tensor:
    """The batch, which frees its place when it and all views of it are gone."""
    memory = _memories.get(number)
    if memory is not None:
        weakref.finalize(batch.untyped_storage(), memory.taken.__setitem__, place, 0).atexit = False
    return batch
