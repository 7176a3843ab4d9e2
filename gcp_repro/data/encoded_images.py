"""Images decoded when asked for, with a policy for files that are none and a record of what happened to them."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from multiprocessing.connection import wait
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, distributed
from torch.utils.data import get_worker_info
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from gcp_repro.data.collate import collate
from gcp_repro.data.image_set import Samples, listing
from gcp_repro.data.loading import ResumableLoader, Transform
from gcp_repro.data.reader import UnreadableImageError, decode_rgb, is_plain_jpeg
from gcp_repro.data.storage import Storage
from gcp_repro.errors import DataError, UnknownNameError

__all__ = ["EncodedImages", "OnError", "ReportingLoader", "UnlessSkipped"]

log = logging.getLogger(__name__)

OnError = Literal["raise", "skip"]
ON_ERROR = ("raise", "skip")
MAX_WORKERS = 1024
BLANK_SIDE = 64
SECONDS_TO_DIE = 2.0
TRIED_IN_PLACE_OF_A_BATCH = 100


class EncodedImages:
    """Images `(3, H, W)`, uint8, with their labels; decoded at each access, nothing kept.

    Names and labels lie in arrays, and what workers find out in shared memory, so that neither grows with the number
    of workers.

    Args:
        samples: Names and labels.
        storage: Reads the names.
        on_error: "raise" stops at the first file that is no image; "skip" logs its name once, counts it in `unreadable`
            and gives what `blank` says instead.
        blank: What "skip" gives: a black image, so that an evaluation keeps its size and counts the file as an error
            (but for luck), or None, which `collate` leaves out of the batch.
        exif_orientation: See `decode_rgb`.
        keep_encoded: Give plain JPEGs as their bytes, `(N,)`, for `decode_batch`.
        reduce_to: See `decode_rgb`.

    Raises:
        UnknownNameError: Another policy.
    """

    def __init__(
        self,
        samples: Samples,
        storage: Storage,
        *,
        on_error: OnError = "raise",
        blank: bool = True,
        exif_orientation: bool = True,
        keep_encoded: bool = False,
        reduce_to: int | None = None,
    ) -> None:
        if on_error not in ON_ERROR:
            raise UnknownNameError("policy data.on_error", on_error, ON_ERROR)
        self._names = np.array([os.fsencode(name) for name, _ in samples], dtype=np.bytes_)
        self.labels = np.array([label for _, label in samples], dtype=np.int64)
        self.storage = storage
        self.on_error = on_error
        self.blank = torch.zeros(3, BLANK_SIDE, BLANK_SIDE, dtype=torch.uint8) if blank else None
        self.exif_orientation = exif_orientation
        self.keep_encoded = keep_encoded
        self.reduce_to = reduce_to
        self._unreadable = _shared(torch.zeros(len(samples), dtype=torch.bool))
        self._reading = _shared(torch.full((MAX_WORKERS, 2), -1))  # (process, row) by worker

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor | None, int]:
        self._note(row)
        label = int(self.labels[row])
        name = self.name(row)
        try:
            data = self.storage.read(name)
            if self.keep_encoded and is_plain_jpeg(data, exif_orientation=self.exif_orientation):
                return torch.frombuffer(bytearray(data), dtype=torch.uint8), label
            return decode_rgb(
                data, self.storage.locate(name), exif_orientation=self.exif_orientation, reduce_to=self.reduce_to
            ), label
        except UnreadableImageError as error:
            if self.on_error == "raise":
                raise
            if not self._unreadable[row]:
                self._unreadable[row] = True
                log.warning("skipped: %s", error)
            return self.blank, label

    def name(self, row: int) -> str:
        """Name of an image in the storage."""
        return os.fsdecode(self._names[row])

    @cached_property
    def digest(self) -> str:
        """What tells these images and labels, in this order, from others; their content is not looked at."""
        whole = hashlib.sha256(self._names.tobytes())
        whole.update(self.labels.tobytes())
        return whole.hexdigest()[:12]

    def unreadable(self) -> list[str]:
        """Where the images lie that could not be read so far, each once, whichever worker met it."""
        return [self.storage.locate(self.name(row)) for row in self.unreadable_rows()]

    def unreadable_rows(self) -> list[int]:
        """Their rows."""
        rows: list[int] = self._unreadable.nonzero().flatten().tolist()
        return rows

    def mark_unreadable(self, rows: Sequence[int]) -> None:
        """Add rows that an earlier session of the run could not read."""
        self._unreadable[list(rows)] = True

    def gather_unreadable(self, device: torch.device) -> None:
        """Add what the other processes of a distributed run could not read; all of them call this."""
        found = self._unreadable.to(device, torch.uint8)
        distributed.all_reduce(found, op=distributed.ReduceOp.MAX)
        self._unreadable |= found.cpu().bool()

    def being_read(self, processes: Sequence[int]) -> list[str]:
        """Where the images lie that these processes read last."""
        rows = [row for process, row in self._reading.tolist() if process in processes]
        return [self.storage.locate(self.name(row)) for row in rows]

    def _note(self, row: int) -> None:
        worker = get_worker_info()
        if worker is not None and worker.id < MAX_WORKERS:
            self._reading.numpy()[worker.id] = os.getpid(), row


def _shared(tensor: Tensor) -> Tensor:
    """The tensor in memory that worker processes write to as well."""
    shared: Tensor = tensor.share_memory_()  # type: ignore[no-untyped-call]
    return shared


class UnlessSkipped:
    """A transform that lets a skipped image, None, pass.

    Args:
        transform: What happens to the others.
    """

    def __init__(self, transform: Transform) -> None:
        self.transform = transform

    def __call__(self, image: Tensor | None) -> Tensor | None:
        """The transformed image, or None."""
        return None if image is None else self.transform(image)


class ReportingLoader(ResumableLoader):
    """A loader over `EncodedImages` whose errors are as short with workers as without, and name the file.

    A batch without a single readable image is replaced by the first readable image in the epoch's order, so that under DDP
    all processes take the same number of steps.
    """

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        try:
            for batch in super().__iter__():
                yield self._first_readable() if batch is None else batch
        except DataError as error:
            self._stop_workers()
            raise type(error)(_without_workers_traceback(error)) from None
        except (RuntimeError, OSError, EOFError) as error:  # what is met first depends on what the worker was doing
            named = self.death_of_a_worker()
            self._stop_workers()
            if named is None:
                raise
            raise named from error

    def death_of_a_worker(self) -> DataError | None:
        """Which worker has died and what it was reading; None if none has.

        torch notices a death wherever the main process is, in its own code or in that of the training step.
        """
        workers = getattr(self._iterator, "_workers", [])
        dead: list[int] = []
        for _ in (*workers, None):  # torch's signal handler may raise here as well, once a worker
            with contextlib.suppress(RuntimeError):
                dead = _dead_processes(workers)
                break
        files = self.dataset.source.being_read(dead)  # type: ignore[attr-defined]
        if not files:
            return None
        return DataError(
            f"loading images needs its workers alive; process {listing(dead)} died while reading {listing(files)}: try "
            "that file alone with data.num_workers=0; where it is sound, the machine may be short of memory: use fewer "
            "data.num_workers"
        )

    def _first_readable(self) -> Any:
        keys = itertools.islice(iter(self.batch_sampler.sampler), TRIED_IN_PLACE_OF_A_BATCH)  # type: ignore[union-attr]
        for item in (self.dataset[key] for key in keys):
            if item[0] is not None:
                return collate([item])
        raise DataError(
            f"training needs readable images; all of a batch and of the first {TRIED_IN_PLACE_OF_A_BATCH} of the epoch were "
            "skipped: look at the files named in the log, and at whether the disk is still there"
        )

    def _stop_workers(self) -> None:
        """End them now: left to the garbage collector, torch waits five seconds for each."""
        if isinstance(self._iterator, _MultiProcessingDataLoaderIter):
            self._iterator._shutdown_workers()  # type: ignore[no-untyped-call]
        self._iterator = None


def _dead_processes(workers: Sequence[Any]) -> list[int]:
    """Numbers of the processes that ended by themselves, or are about to: their sockets break before they are gone."""
    ending = wait([worker.sentinel for worker in workers], SECONDS_TO_DIE)
    for worker in workers:
        if worker.sentinel in ending:
            worker.join(SECONDS_TO_DIE)
    return [worker.pid for worker in workers if worker.exitcode]


def _without_workers_traceback(error: Exception) -> str:
    """The words of an error, which torch hides below the traceback of the worker that raised it."""
    return str(error).rpartition(f"{type(error).__name__}: ")[2].strip()
