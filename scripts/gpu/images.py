"""Photographs as JPEG files of ImageNet's most frequent size, in the folders of `image_folder`, for trainings that are timed.

python -m scripts.gpu.images [--output reports/gpu/images] [--images 2048] [--classes 1000]
"""

from __future__ import annotations

import itertools
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from gcp_repro.bench.image_pipelines import write_photographs
from scripts.gpu.arguments import gpu_parser

__all__ = ["write_images"]

DIFFERENT = 128
"""At most; more files are copies of these."""


def write_images(root: Path, images: int, classes: int) -> None:
    """As many training images as named, spread over the classes, and one evaluation image a class.

    Args:
        root: A folder that is not there yet.
        images: At least one a class.
        classes: Folders in `train` and `val`.
    """
    with tempfile.TemporaryDirectory() as folder:
        photographs = itertools.cycle(write_photographs(Path(folder), min(images, DIFFERENT)))
        for split, count in (("train", images), ("val", classes)):
            for number in range(count):
                target = root / split / f"class_{number % classes:04}" / f"{number:05}.jpg"
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(next(photographs), target)


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = gpu_parser("scripts.gpu.images", __doc__, "reports/gpu/images", "folder")
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=1000)
    options = parser.parse_args(arguments)
    if options.output.exists():
        print(f"there already: {options.output}")
        return 0
    options.output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.output.parent) as folder:  # so that what is there is whole
        write_images(Path(folder) / "images", options.images, options.classes)
        (Path(folder) / "images").rename(options.output)
    print(f"written: {options.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
