"""Which decomposition of a batch of Gram matrices is the fastest on a GPU: torch's, cuSOLVER's, or the CPU's.

    python -m scripts.gpu.decompositions [--output reports/gpu/decompositions.csv] [--sizes 48 168] [--batches 10 128]

`syev_batched` is cuSOLVER's function for batches of any size, which `torch.linalg.eigh` calls from torch 2.12 on; here it is
called by itself, so that it can be measured with any torch.
"""

from __future__ import annotations

import ctypes
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gcp_repro.linalg.decomposition import decompose
from scripts.gpu.arguments import checked_options, device_name, gpu_parser
from scripts.gpu.rows import rows_file

CHANNELS = 256
VECTORS, LOWER, REAL = 1, 0, {torch.float32: 0, torch.float64: 1}  # cuSOLVER's numbers
MAPS = Path("/proc/self/maps")


class SyevBatched:
    """`cusolverDnXsyevBatched` of the cuSOLVER that torch has loaded."""

    def __init__(self) -> None:
        torch.linalg.eigh(torch.eye(2, device="cuda"))  # loads it
        loaded = {line.split()[-1] for line in MAPS.read_text().splitlines() if "libcusolver.so" in line}
        self.library = ctypes.CDLL(loaded.pop())
        self.handle, self.parameters = ctypes.c_void_p(), ctypes.c_void_p()
        self._call("cusolverDnCreate", ctypes.byref(self.handle))
        self._call("cusolverDnCreateParams", ctypes.byref(self.parameters))

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self.library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} ended with status {status}")

    def __call__(self, matrix: Tensor) -> tuple[Tensor, Tensor]:
        """Eigenvalues `(b, n)` and eigenvectors, in columns, `(b, n, n)`."""
        batch, n, _ = matrix.shape
        vectors, values = matrix.clone(), matrix.new_empty(batch, n)
        failed = torch.zeros(batch, dtype=torch.int32, device=matrix.device)
        size, kind = ctypes.c_int64(n), REAL[matrix.dtype]
        arguments = (
            self.handle, self.parameters, VECTORS, LOWER, size, kind, ctypes.c_void_p(vectors.data_ptr()), size, kind,
            ctypes.c_void_p(values.data_ptr()), kind,
        )  # fmt: skip
        there, here = ctypes.c_size_t(), ctypes.c_size_t()
        self._call(
            "cusolverDnXsyevBatched_bufferSize", *arguments, ctypes.byref(there), ctypes.byref(here), ctypes.c_int64(batch)
        )
        on_device = torch.empty(max(1, there.value), dtype=torch.uint8, device=matrix.device)
        on_host = torch.empty(max(1, here.value), dtype=torch.uint8)
        self._call(
            "cusolverDnXsyevBatched", *arguments, ctypes.c_void_p(on_device.data_ptr()), there,
            ctypes.c_void_p(on_host.data_ptr()), here, ctypes.c_void_p(failed.data_ptr()), ctypes.c_int64(batch),
        )  # fmt: skip
        torch.cuda.synchronize()
        return values, vectors.mT


def _gesvda(z: Tensor) -> tuple[Tensor, ...]:
    return tuple(torch.linalg.svd(z, full_matrices=False, driver="gesvda"))


def ways_on(device: str) -> dict[str, Callable[[Tensor, Tensor], object]]:
    """By name, what is done to features `(b, C, n)` and their Gram matrix."""
    ways: dict[str, Callable[[Tensor, Tensor], object]] = {
        "eigh": lambda z, gram: torch.linalg.eigh(gram),
        "host": lambda z, gram: decompose(gram, on_host=True),
    }
    if device == "cuda":
        batched = SyevBatched()
        ways |= {"gesvda": lambda z, gram: _gesvda(z), "syev_batched": lambda z, gram: batched(gram)}
    return ways


def milliseconds(work: Callable[[], object], device: str, rounds: int) -> float:
    """Of the fastest round, after one to warm up."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - start))
    return min(times[1:])


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = gpu_parser("scripts.gpu.decompositions", __doc__, "reports/gpu/decompositions.csv", "csv file")
    parser.add_argument("--sizes", type=int, nargs="+", default=[48, 168, 196, 256], help="rows of the Gram matrices")
    parser.add_argument("--batches", type=int, nargs="+", default=[10, 128])
    parser.add_argument("--rounds", type=int, default=3)
    options = checked_options(parser, arguments)
    ways = ways_on(options.device)
    name = device_name(options.device)
    columns = ["way", "dtype", "batch", "size", "milliseconds", "device", "threads", "torch"]
    with rows_file(options.output, columns) as write:
        for size, batch, dtype in itertools.product(options.sizes, options.batches, (torch.float64, torch.float32)):
            z = torch.randn(batch, CHANNELS, size, dtype=torch.float64, device=options.device).to(dtype)
            gram = z.mT @ z / CHANNELS
            for way, work in ways.items():
                taken = milliseconds(lambda: work(z, gram), options.device, options.rounds)  # noqa: B023  called at once
                row = [way, str(dtype).removeprefix("torch."), batch, size, f"{taken:.3f}", name, torch.get_num_threads()]
                write([*row, torch.__version__])
                print(f"{way:13} {row[1]} {batch:4} x {size:3}  {taken:9.3f} ms", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
