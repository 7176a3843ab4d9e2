"""Images a second that reach the GPU, decoded by workers or where the network is (`data.decode_on`), by the number of workers.

python -m scripts.gpu.decoding [--output reports/gpu/decoding.csv] [--images 512] [--workers 0 4 8]
"""

from __future__ import annotations

import itertools
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import torch

from gcp_repro.data.image_files import ImageFilesDataModule
from scripts.gpu.arguments import checked_options, device_name, gpu_parser
from scripts.gpu.images import write_images
from scripts.gpu.rows import rows_file

BATCH = 64


def images_a_second(root: Path, decode_on: str, workers: int, device: str) -> float:
    """Of a second epoch, when workers have started: random crops, normalised, on the device."""
    module = ImageFilesDataModule(
        "image_folder", str(root), batch_size=BATCH, decode_on=decode_on, num_workers=workers, pin_memory=True
    )
    state = SimpleNamespace(training=True, current_epoch=0, global_rank=0, world_size=1, accumulate_grad_batches=1)
    module.trainer = state  # type: ignore[assignment]
    module.setup("fit")
    loader, count, start = module.train_dataloader(), 0, 0.0
    for _ in range(2):
        count, start = 0, time.perf_counter()
        for images, labels in loader:
            moved = images.to(device, non_blocking=True) if isinstance(images, torch.Tensor) else images
            module.on_after_batch_transfer((moved, labels.to(device)), 0)
            count += len(labels)
        if device == "cuda":
            torch.cuda.synchronize()
    return count / (time.perf_counter() - start)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = gpu_parser("scripts.gpu.decoding", __doc__, "reports/gpu/decoding.csv", "csv file")
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 4, 8])
    options = checked_options(parser, arguments)
    name = device_name(options.device)
    columns = ["decode_on", "workers", "images_per_second", "images", "batch_size", "device", "torch"]
    with tempfile.TemporaryDirectory() as folder, rows_file(options.output, columns) as write:
        root = Path(folder) / "images"
        write_images(root, options.images, classes=2)
        for decode_on, workers in itertools.product(("workers", "device"), options.workers):
            speed = images_a_second(root, decode_on, workers, options.device)
            write([decode_on, workers, f"{speed:.0f}", options.images, BATCH, name, torch.__version__])
            print(f"decoded by the {decode_on}, {workers} workers: {speed:.0f} images/s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
