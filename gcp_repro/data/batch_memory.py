"""How batches come from workers: in shared memory that is used again, as new pages cost ten times what is written to them."""

from __future__ import annotations

import itertools
import math
import weakref
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.sharedctypes import RawArray
from typing import Any

import torch
from torch import Tensor

from gcp_repro.errors import DataError

__all__ = ["BatchMemory", "by_value", "stack_channels_last"]

PLACES = 5  # of a worker: two batches that it makes ahead, and those that the reader holds

_numbers = itertools.count()
_memories: weakref.WeakValueDictionary[int, BatchMemory] = weakref.WeakValueDictionary()
_of_this_worker: list[BatchMemory] = []


def stack_channels_last(images: Iterator[Tensor], most: int) -> Any:
    """The images `(B, ..., C, H, W)`, their channels last in memory.

    Args:
        images: Each `(..., C, H, W)`, uint8; one at least.
        most: How many there may be.

    Returns:
        A tensor; in a worker of a loader with a `BatchMemory` something that becomes one in the reader.

    Raises:
        DataError: Images of several sizes.
    """
    first = next(images)
    shape = (most, *first.movedim(-3, -1).shape)
    memory = _of_this_worker[0] if _of_this_worker else None
    place = None if memory is None else memory.free_place(math.prod(shape))
    rows = first.new_empty(shape) if memory is None or place is None else _lying_in(memory.places[place], shape)
    places = rows.movedim(-1, -3).unbind()
    count = 0
    for count, image in enumerate(itertools.chain([first], images), 1):
        if image.shape != first.shape or image.dtype != first.dtype:
            raise DataError(
                f"the images of a batch need one size and type; got {tuple(first.shape)}, {first.dtype}, and "
                f"{tuple(image.shape)}, {image.dtype}: end data.transform in a crop or a resize to a fixed size"
            )
        places[count - 1].copy_(image)
    if memory is None or place is None:
        return rows[:count].movedim(-1, -3)
    memory.taken[place] = 1
    return _Sent(_received, memory.handed_over(place), (count, *shape[1:]), memory.number, place)


def by_value(tensor: Tensor) -> Any:
    """The tensor; in such a worker, something that becomes one: to hand over shared memory costs a third of a millisecond."""
    return _Sent(torch.from_numpy, tensor.numpy()) if _of_this_worker else tensor


def _lying_in(storage: torch.UntypedStorage, shape: Sequence[int]) -> Tensor:
    return torch.empty(0, dtype=torch.uint8).set_(storage, 0, shape)  # type: ignore[call-overload, no-any-return]


class BatchMemory:
    """Places that the workers of a loader write batches to, each again when no tensor lies in it any more.

    Made where the batches are read, for one set of workers, which stays: two sets would take each other's places. A batch that
    finds no free place takes new memory. The reader keeps what a place consists of: to hand it over takes a connection of two
    processes, and the reader a third of a millisecond, each time.

    Args:
        workers: Their number.
    """

    def __init__(self, workers: int) -> None:
        self.number = next(_numbers)
        self.taken = RawArray("B", workers * PLACES)
        self.places: dict[int, torch.UntypedStorage] = {}
        self.known: dict[int, Any] = {}  # of places, to the reader the bytes, to a worker the storage that it has handed over
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

    def handed_over(self, place: int) -> torch.UntypedStorage | None:
        """The place's storage the first time, None when the reader has it."""
        if self.known.get(place) is self.places[place]:
            return None
        self.known[place] = self.places[place]
        return self.places[place]

    def batch_in(self, place: int, storage: torch.UntypedStorage | None, shape: Sequence[int]) -> Tensor:
        """What a worker has written, in the reader; the place is free again when it and all views of it are gone."""
        if storage is not None:
            self.known[place] = _lying_in(storage, (storage.nbytes(),)).numpy()
        rows = self.known[place][: math.prod(shape)].reshape(shape)  # the tensor's storage keeps this very array alive
        weakref.finalize(rows, self.taken.__setitem__, place, 0).atexit = False
        return torch.from_numpy(rows).movedim(-1, -3)


class _Sent:
    """Pickled as what a function makes of its arguments in the reader."""

    def __init__(self, function: Callable[..., Tensor], *arguments: Any) -> None:
        self.reduced = function, arguments

    def __reduce__(self) -> Any:
        return self.reduced


def _received(storage: torch.UntypedStorage | None, shape: Sequence[int], number: int, place: int) -> Tensor:
    return _memories[number].batch_in(place, storage, shape)
