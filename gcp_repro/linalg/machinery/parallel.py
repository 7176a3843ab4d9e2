"""Spread a batch of small matrices over threads that each run one-threaded kernels.

On the CPU torch decomposes the matrices of a batch one after another and starts all its threads for each of them, which
for matrices of a few hundred rows costs more than it gains (see `docs/performance.md`). Here the batch is cut into
chunks that fit into a core's cache, and every thread takes whole chunks through all the steps of an operator.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import torch
from torch import Tensor

from gcp_repro.locks import RenewedLock, after_fork

__all__ = ["CHUNK_BYTES", "for_each_chunk"]

CHUNK_BYTES = 4 * 2**20
"""Aimed-at size in bytes of the largest matrix stack of one chunk.

About a core's second-level cache. Smaller chunks mean more calls of torch, at each of which threads hand the interpreter's
lock to one another; that costs more than the cache gains.
"""

_lock = RenewedLock()
_pools: dict[int, ThreadPoolExecutor] = {}  # the one in use, by its number of threads
after_fork(_pools.clear)  # threads do not survive a fork


def _pool(threads: int) -> ThreadPoolExecutor:
    """The pool of so many threads; those of another one end when their work is done. Call it with the lock held."""
    if threads not in _pools:
        for other in _pools.values():
            other.shutdown(wait=False)
        _pools.clear()
        _pools[threads] = _started_pool(threads)
    return _pools[threads]


def _started_pool(threads: int) -> ThreadPoolExecutor:
    started = threading.Barrier(threads + 1)

    def start() -> None:
        torch.get_num_threads()  # a thread's first call takes over the process's setting, and would undo its own
        torch.set_num_threads(1)
        started.wait()

    pool = ThreadPoolExecutor(threads, thread_name_prefix="gcp_repro")
    for _ in range(threads):
        pool.submit(start)
    started.wait()
    torch.set_num_threads(threads)  # the workers' setting is also the default of threads yet to come: put it back
    return pool


def _slices(batch: int, largest: int, threads: int) -> list[slice]:
    """Chunks of nearly equal size, at most `largest`, as many for every thread."""
    turns = -(-batch // (largest * threads))
    chunk = -(-batch // (turns * threads))
    return [slice(start, start + chunk) for start in range(0, batch, chunk)]


def for_each_chunk(work: Callable[..., None], tensors: Sequence[Tensor], bytes_per_item: int) -> None:
    """Call `work` on matching slices of `tensors` along their first dimension, in parallel on the CPU.

    Args:
        work: Called with one slice of each tensor; writes its results into some of them.
        tensors: All with the same first size `B` and on one device.
        bytes_per_item: Size in bytes of the largest matrix that `work` handles for one item of the batch.
    """
    batch = tensors[0].shape[0]
    threads = torch.get_num_threads()
    if batch == 0:
        return None
    if tensors[0].device.type != "cpu":
        return work(*tensors)
    slices = _slices(batch, max(1, CHUNK_BYTES // max(1, bytes_per_item)), threads)
    if threads == 1 or len(slices) == 1:
        for rows in slices:
            work(*(tensor[rows] for tensor in tensors))
        return None
    inference = torch.is_inference_mode_enabled()  # a mode of this thread, which the workers have to share

    def in_worker(*parts: Tensor) -> None:
        with torch.inference_mode(inference):
            work(*parts)

    try:
        with _lock:
            pool = _pool(threads)
            futures = [pool.submit(in_worker, *(tensor[rows] for tensor in tensors)) for rows in slices]
    except RuntimeError:  # the main thread has ended, and with it the pools of the process: this one goes on alone
        return work(*tensors)
    for future in futures:
        future.result()
    return None
