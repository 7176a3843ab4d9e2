"""Peak memory of one forward and backward, beyond the module's inputs.

On CUDA this is what torch's allocator reports. On the CPU it is the peak of the resident set of a process of its own, less what
was resident before, because nothing inside the process sees all of it: `torch.profiler` misses what other threads allocate, and
neither it nor `tracemalloc` sees the kernel libraries' workspaces. In that process glibc gives every block above 64 KiB its own
mapping, so that freed tensors leave the resident set at once and its peak is that of the memory in use at one time. The kernel
counts pages in batches by thread: trust about 1 MiB.

What is made on the first call and kept is not counted: index tensors, threads, and the kernel libraries' buffers.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

import torch
from torch import Tensor, nn

from gcp_repro.bench.cases import Case, Inputs, Shape
from gcp_repro.bench.peer import Peer, opened
from gcp_repro.bench.timing import Trial

__all__ = ["MemoryProbe", "forget_peak", "kept_bytes", "peak_bytes", "peak_on_cuda", "resident_peak"]

SETTLE_SECONDS = 0.1  # a thread of a pool holds its last task, and the tensors with it, until it is scheduled again
_CLEAR_REFS, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
_MAPPING_THRESHOLD = "MALLOC_MMAP_THRESHOLD_"


def peak_on_cuda(trial: Trial) -> int:
    """Bytes of torch's allocator at the peak of one run, less those before it."""
    device = trial.features.device
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    trial.run()
    return torch.cuda.max_memory_allocated(device) - before


def resident_peak(trial: Trial, runs: int = 3) -> int:
    """Bytes resident in this process at the peak of one run, less those before it (Linux).

    Args:
        trial: What is run.
        runs: The largest of so many runs counts: how far the threads' peaks coincide is up to chance.
    """
    return max(_resident_peak(trial) for _ in range(runs))


def _resident_peak(trial: Trial) -> int:
    gc.collect()
    time.sleep(SETTLE_SECONDS)
    ctypes.CDLL(None).malloc_trim(0)
    _CLEAR_REFS.write_text("5")  # the peak starts anew at what is resident now
    before = _resident_bytes("VmRSS")
    trial.run()
    return max(0, _resident_bytes("VmHWM") - before)


def forget_peak() -> None:
    """Let the peak of memory start anew: of torch's allocator on CUDA, of what is resident on the CPU (Linux)."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif _CLEAR_REFS.exists():
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR_REFS.write_text("5")


def peak_bytes() -> int:
    """The peak since `forget_peak`, all of it; 0 where nothing tells."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return _resident_bytes("VmHWM") if _STATUS.exists() else 0


def kept_bytes(layer: nn.Module, features: Tensor) -> float:
    """Bytes that an image's graph holds until the backward, beside the features and the output, which belong to the network.

    What does not grow with the batch is left out.

    Args:
        layer: A meta-layer.
        features: `(B, C, H, W)` or `(B, C, N)`, with `requires_grad`.
    """
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes() if tensor.shape[:1] == features.shape[:1] else 0
        return tensor

    layer(features)  # what the first call makes and keeps
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = layer(features)
    for own in (features, output):
        kept.pop(own.untyped_storage().data_ptr(), None)
    return sum(kept.values()) / len(features)


def _resident_bytes(field: str) -> int:
    fields = dict(line.split(":", 1) for line in _STATUS.read_text().splitlines())
    return int(fields[field].removesuffix("kB")) * 1024


class MemoryProbe:
    """Measures candidates on the CPU, one after another, in a process of its own. A context manager.

    Args:
        threads: That torch may use there.
        peer: A clone of DifferentiableSVD, opened there too; or None.
    """

    def __init__(self, threads: int, peer: Path | None = None) -> None:
        self._arguments = (threads, peer)
        self._pool: ProcessPoolExecutor | None = None

    @staticmethod
    def supported() -> bool:
        """Whether this system can reset and report a process's peak: Linux with glibc."""
        return sys.platform == "linux" and os.access(_CLEAR_REFS, os.W_OK) and hasattr(ctypes.CDLL(None), "malloc_trim")

    def __enter__(self) -> MemoryProbe:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close()

    def measure(self, case: Case, shape: Shape) -> int | None:
        """Bytes at the peak; None where the system cannot tell.

        Raises:
            RuntimeError: The candidate raised; or the process ended, as processes do for which there is not enough memory.
        """
        if not self.supported():
            return None
        try:
            return self._started().submit(_measure, case, shape).result()
        except BrokenProcessPool as error:
            self._close()  # the next candidate gets a new process
            raise RuntimeError("the process that measures memory ended, for want of memory perhaps: lower --batch") from error

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            before = os.environ.get(_MAPPING_THRESHOLD)
            os.environ[_MAPPING_THRESHOLD] = "65536"  # read by glibc when the process starts
            try:
                spawn = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(1, mp_context=spawn, initializer=_start, initargs=self._arguments)
                self._pool.submit(os.getpid).result()
            finally:
                if before is None:
                    del os.environ[_MAPPING_THRESHOLD]
                else:
                    os.environ[_MAPPING_THRESHOLD] = before
        return self._pool

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None


_open_peer: Peer | None = None
_open_files = ExitStack()  # keeps the peer open as long as the process lives


def _start(threads: int, peer: Path | None) -> None:
    global _open_peer  # state of the process that measures, set once by its initialiser
    torch.set_num_threads(threads)
    if peer is not None:
        _open_peer = _open_files.enter_context(opened(peer, torch.device("cpu")))


def _measure(case: Case, shape: Shape) -> int:
    try:
        return resident_peak(Inputs(shape, torch.device("cpu")).trial(case, _open_peer))
    except Exception as error:  # not every class of errors can travel between processes
        raise RuntimeError(f"{type(error).__name__}: {error}") from None
