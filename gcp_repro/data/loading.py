"""Which process sees which image when, and how a checkpoint remembers it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Sized
from functools import partial
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from lightning_fabric.utilities.seed import pl_worker_init_function
from torch.utils.data import DataLoader, Dataset, Sampler

from gcp_repro.data.batch_memory import BatchMemory
from gcp_repro.errors import DataError, OptionError

__all__ = [
    "EpochSampler",
    "ImageSource",
    "ResumableLoader",
    "SampleKey",
    "SeededDataset",
    "ShardedBatchSampler",
    "Transform",
]

Transform = Callable[[Any], Any]


class ImageSource(Sized, Protocol):
    """What `make_dataset` returns: `len(source)`, and `source[i]` is `(image, label)`; torchvision's data sets are."""

    def __getitem__(self, index: int, /) -> tuple[Any, Any]:
        """One image and its integer label."""
        ...


class SampleKey(NamedTuple):
    """Names one use of one sample, so that a worker needs no other state to seed its augmentation."""

    epoch: int
    row: int


class EpochSampler(Sampler[SampleKey]):
    """All indices of a data set, in an order decided by `(seed, epoch)` alone.

    Lightning calls `set_epoch` at the start of each epoch.

    Args:
        num_samples: Size of the data set.
        seed: Seed of the run.
        shuffle: Random order if true, natural order if false.
    """

    def __init__(self, num_samples: int, *, seed: int, shuffle: bool) -> None:
        self.num_samples = num_samples
        self.seed = seed
        self.shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, counted from 0, whose order the next iteration follows."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.num_samples

    def __iter__(self) -> Iterator[SampleKey]:
        epoch = self.epoch
        order: Sequence[int] = range(self.num_samples)
        if self.shuffle:
            order = np.random.default_rng((self.seed, epoch)).permutation(self.num_samples).tolist()
        return (SampleKey(epoch, row) for row in order)


class ShardedBatchSampler(Sampler[list[SampleKey]]):
    """The batches of one process out of `world_size`, every sample in exactly one batch of one process.

    The order of `sampler` is cut into steps of `batch_size` keys; process r takes every `world_size`-th key of each, from the
    r-th on, in `passes` batches of equal size. Should fewer keys than processes be left at the end, they join the step
    before, so that no process runs out of batches while another waits for it.

    Args:
        sampler: Order of the keys, the same in every process.
        batch_size: Samples a step over all processes and passes; the last step may be smaller (or larger, see above).
        rank: This process, from 0.
        world_size: Number of processes.
        passes: Batches of each process a step, whose gradients are accumulated. The last step may have fewer.

    Raises:
        DataError: Fewer samples than processes.
        ValueError: A step that cannot be divided evenly.
    """

    def __init__(self, sampler: EpochSampler, batch_size: int, *, rank: int = 0, world_size: int = 1, passes: int = 1) -> None:
        if len(sampler) < world_size:
            raise DataError(
                f"each of the {world_size} processes needs at least one sample; the data set has {len(sampler)}: "
                "use fewer devices, or check the data set's folder and split"
            )
        if batch_size % (world_size * passes):
            raise ValueError(f"{batch_size} samples cannot be shared out evenly over {world_size} processes and {passes} passes")
        self.sampler = sampler  # under this name Lightning finds set_epoch
        self.batch_size = batch_size
        self.rank = rank
        self.world_size = world_size
        self.passes = passes
        self.start = 0  # number of the first batch of the next iteration

    @property
    def steps(self) -> int:
        """Steps an epoch."""
        full, rest = divmod(len(self.sampler), self.batch_size)
        return max(1, full + (rest >= self.world_size))

    def __len__(self) -> int:
        return (self.steps - 1) * self.passes + self._passes_of_last_step()

    def __iter__(self) -> Iterator[list[SampleKey]]:
        keys = list(self.sampler)
        for batch in range(self.start, len(self)):
            yield self._share(keys, batch)

    def keys_of(self, batch: int) -> list[SampleKey]:
        """The samples of one batch of this process, in the sampler's present epoch."""
        return self._share(list(self.sampler), batch)

    def loss_weight(self, batch: int) -> float:
        """Factor of a batch's mean loss that makes the gradient of a step the mean over all its samples.

        The mean over processes and passes is that already where all of them have equally many samples, that is, in all
        steps but the last.
        """
        step, turn = divmod(batch, self.passes)
        size = self._end(step) - step * self.batch_size
        own = len(range(self.rank, size, self.world_size))
        passes = self.passes if step < self.steps - 1 else self._passes_of_last_step()
        return len(_part(range(own), turn, passes)) * self.world_size * self.passes / size

    def _end(self, step: int) -> int:
        return len(self.sampler) if step == self.steps - 1 else (step + 1) * self.batch_size

    def _passes_of_last_step(self) -> int:
        """As many as its share fills, the same in all processes."""
        least = (len(self.sampler) - (self.steps - 1) * self.batch_size) // self.world_size
        local = self.batch_size // (self.world_size * self.passes)
        return min(self.passes, -(-least // local))

    def _share(self, keys: Sequence[SampleKey], batch: int) -> list[SampleKey]:
        step, turn = divmod(batch, self.passes)
        own = keys[step * self.batch_size : self._end(step)][self.rank :: self.world_size]
        return list(_part(own, turn, self.passes if step < self.steps - 1 else self._passes_of_last_step()))


def _part(own: Sequence[Any], number: int, of: int) -> Sequence[Any]:
    """One of `of` parts that differ in length by one at most."""
    return own[len(own) * number // of : len(own) * (number + 1) // of]


class ResumableLoader(DataLoader[Any]):
    """A loader that a checkpoint can stop in mid-epoch: Lightning saves and restores its `state_dict`.

    The order is a function of seed and epoch, so the position is all there is to save; it counts batches that were
    handed out, not those that workers have loaded ahead, and is the same in all processes. (torchdata's
    StatefulDataLoader also saves the state of samplers and workers, which is not needed here, and it calls functions
    that torch has deprecated.)

    Args:
        dataset: Samples by key.
        batches: Their order, and the share of this process.
        num_workers: They stay from epoch to epoch: a batch memory is that of one set of workers.
        **options: See `torch.utils.data.DataLoader`, but for `worker_init_fn` and `persistent_workers`.
    """

    def __init__(self, dataset: SeededDataset, batches: ShardedBatchSampler, *, num_workers: int = 0, **options: Any) -> None:
        self._memory = BatchMemory(num_workers)
        start = partial(_start_worker, self._memory, batches.rank)
        workers: dict[str, Any] = {"num_workers": num_workers, "persistent_workers": num_workers > 0, "worker_init_fn": start}
        super().__init__(dataset, batch_sampler=batches, **workers, **options)
        self._position = {
            "epoch": batches.sampler.epoch,
            "batches": 0,
            "passes": batches.passes,
            "global_batch_size": batches.batch_size,
        }
        self._restored = False

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]
        batches: ShardedBatchSampler = self.batch_sampler  # type: ignore[assignment]
        epoch = batches.sampler.epoch
        resuming = self._restored and self._position["epoch"] == epoch
        self._restored = False
        batches.start = self._position["batches"] if resuming else 0
        self._position.update(epoch=epoch, batches=batches.start)
        for batch in super().__iter__():
            self._position["batches"] += 1
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Epoch, batches handed out in it, how many of them make a step, and the size of a step over all processes."""
        return dict(self._position)

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next iteration go on from `state`, if it is one over the same epoch.

        Raises:
            OptionError: The epoch was begun with another global batch size.
        """
        expected = self._position["global_batch_size"]
        if state["global_batch_size"] != expected:
            raise OptionError(
                f"resuming in mid-epoch needs the batch size the epoch began with, {state['global_batch_size']} images "
                f"over all processes; got {expected}: set data.batch_size or the number of devices back"
            )
        passes = self._position["passes"]
        self._position = {**state, "batches": state["batches"] // state["passes"] * passes, "passes": passes}
        self._restored = True


def _start_worker(memory: BatchMemory, rank: int, worker: int) -> None:
    """What Lightning would have a worker begin with, so that a user's transforms draw apart; and the memory for its batches."""
    pl_worker_init_function(worker, rank)
    memory.use(worker)


class SeededDataset(Dataset[tuple[Any, Any]]):
    """A data set whose random transform is seeded by `(seed, epoch, row)` for each image.

    Args:
        source: Images and labels by index.
        transform: Applied to the image, with torch's global generator seeded for this image and restored
            afterwards; torchvision's transforms draw from that generator alone.
        seed: Seed of the run.
    """

    def __init__(self, source: ImageSource, transform: Transform | None, *, seed: int) -> None:
        self.source = source
        self.transform = transform
        self.seed = seed

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, key: SampleKey) -> tuple[Any, Any]:
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[SampleKey]) -> Sequence[tuple[Any, Any]]:
        return _Samples(self, keys)


class _Samples(Sequence[tuple[Any, Any]]):
    """Those of a batch, each made when it is taken, so that it goes to its place while it is in the processor's cache.

    Asked for one by its number, all are made and kept.
    """

    def __init__(self, dataset: SeededDataset, keys: Sequence[SampleKey]) -> None:
        self.dataset = dataset
        self.keys = keys
        self._made: list[tuple[Any, Any]] | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, number: Any) -> Any:
        if self._made is None:
            self._made = list(self)
        return self._made[number]

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return self._make() if self._made is None else iter(self._made)

    def _make(self) -> Iterator[tuple[Any, Any]]:
        source, transform, seed = self.dataset.source, self.dataset.transform, self.dataset.seed
        if transform is None:
            yield from (source[key.row] for key in self.keys)
            return
        seeds = [np.random.SeedSequence((seed, *key)).generate_state(1, np.uint64).item() for key in self.keys]
        state = torch.default_generator.get_state()
        try:
            for key, own_seed in zip(self.keys, seeds, strict=True):
                image, label = source[key.row]
                torch.default_generator.manual_seed(own_seed)
                yield transform(image), label
        finally:
            torch.default_generator.set_state(state)
