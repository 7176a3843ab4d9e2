"""Images a second and core: our reading and transforms against Pillow with torchvision's first transforms, in one run."""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision import transforms as v1

from gcp_repro.data.base import normalize
from gcp_repro.data.image_files import ImageFilesDataModule
from gcp_repro.data.reader import decode_rgb
from gcp_repro.data.storage import FolderStorage
from gcp_repro.data.transforms import Recipe, build_eval_transform, build_train_transform, find_recipe
from gcp_repro.errors import DataError, OptionError

__all__ = ["Pipeline", "Timing", "add_arguments", "baseline_pipeline", "measure", "our_pipeline", "run", "write_photographs"]

SIZE = (500, 375)  # the most frequent size in ImageNet
QUALITY = 90
BASELINE = "pillow + torchvision v1"
REDUCED = "ours, reduced decoding"

Pipeline = Callable[[Path], Tensor]
"""Maps a JPEG file to what the loader yields for it."""


@dataclass(frozen=True)
class Timing:
    """Speed of one pipeline.

    Args:
        split: "train" or "val".
        pipeline: Its name.
        images_per_second: For a second of one core, in the fastest repeat.
        ratio: Median over the repeats of the speed over the baseline's in the same repeat.
        largest_difference: Grey levels, against the baseline on the same files with the same random numbers.
        mean_difference: The same, averaged over all pixels. Both are None where the pipelines crop different parts.
    """

    split: str
    pipeline: str
    images_per_second: float
    ratio: float
    largest_difference: int | None
    mean_difference: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `gcp-bench data`."""
    parser.add_argument(
        "folder", nargs="?", type=Path, help="JPEG files, at any depth; photographs from scikit-image if left out"
    )
    parser.add_argument("--dataset", default="imagenet", help="whose transforms are measured")
    parser.add_argument("--transform", default="reference", help="reference or paper")
    parser.add_argument("--images", type=int, default=200, help="most files to read")
    parser.add_argument("--repeats", type=int, default=7, help="rounds; the pipelines take turns in each")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write the csv if asked for.

    Raises:
        DataError: The folder holds no JPEG files.
        OptionError: A number below 1.
    """
    if min(options.images, options.repeats) < 1:
        raise OptionError(
            f"the benchmark needs at least 1 image and repeat; got {options.images} and {options.repeats}: raise them"
        )
    recipe = find_recipe(options.transform, options.dataset)
    with tempfile.TemporaryDirectory() as folder:
        files = _jpeg_files(options.folder, options.images) if options.folder else write_photographs(Path(folder), options.images)
        rows = [_row(timing, options, files) for timing in measure(files, recipe, repeats=options.repeats)]
    print(f"{options.dataset}, {options.transform} transform, {len(files)} files, one core")
    for row in rows:
        print(
            f"{row['split']:6}{row['pipeline']:32}{row['images_per_second']:8.1f} images/s {row['ratio']:6.2f} x   {_words(row)}"
        )
    if options.csv is not None:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def measure(files: Sequence[Path], recipe: Recipe, *, repeats: int) -> list[Timing]:
    """Time all pipelines on the same files, in turns, with one thread.

    Args:
        files: JPEG files.
        recipe: Whose transforms are measured.
        repeats: Rounds.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return [timing for split in ("train", "val") for timing in _measure_split(files, recipe, split, repeats)]
    finally:
        torch.set_num_threads(threads)


def baseline_pipeline(recipe: Recipe, split: str, *, as_float: bool) -> Pipeline:
    """Pillow and torchvision's first transforms, as the peer's code does it.

    Args:
        recipe: Sizes.
        split: "train" or "val".
        as_float: Convert and normalise as the peer does; false stops at uint8, to compare pixels.
    """
    resize = v1.Resize(recipe.resize)
    crops: dict[str, list[Any]] = {
        "random_resized": [v1.RandomResizedCrop(recipe.crop)],
        "random": [resize, v1.RandomCrop(recipe.crop)],
        "center": [resize, v1.CenterCrop(recipe.crop)],
    }
    steps = crops[recipe.train] + ([v1.RandomHorizontalFlip()] if recipe.flip else []) if split == "train" else crops["center"]
    module = ImageFilesDataModule
    tail = [v1.ToTensor(), v1.Normalize(module.mean, module.std)] if as_float else [v1.PILToTensor()]
    transform = v1.Compose(steps + tail)

    def load(path: Path) -> Tensor:
        with path.open("rb") as file:
            return transform(Image.open(file).convert("RGB"))  # type: ignore[no-any-return]

    return load


def our_pipeline(recipe: Recipe, split: str, *, as_float: bool = False, reduced: bool = False) -> Pipeline:
    """What a worker of our loaders does.

    Args:
        recipe: Sizes.
        split: "train" or "val".
        as_float: Normalise on the CPU as well, which our data modules leave to the device.
        reduced: Decode large files at a fraction of their size.
    """
    transform = build_train_transform(recipe) if split == "train" else build_eval_transform(recipe)
    reduce_to = recipe.longest_side if reduced else None
    module = ImageFilesDataModule

    def load(path: Path) -> Tensor:
        image: Tensor = transform(decode_rgb(path.read_bytes(), str(path), reduce_to=reduce_to))
        return normalize(image, module.mean, module.std) if as_float else image

    return load


def write_photographs(folder: Path, count: int) -> list[Path]:
    """JPEG files of 500x375 pixels, crops of the photographs in scikit-image's wheel."""
    from skimage import data

    photographs = [Image.fromarray(getattr(data, name)()) for name in ("astronaut", "chelsea", "coffee", "rocket")]
    generator = np.random.default_rng(0)
    files = []
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        share = generator.uniform(0.6, 1.0)
        width, height = (int(share * side) for side in photograph.size)
        left, top = (
            int(generator.integers(0, whole - part + 1)) for whole, part in zip(photograph.size, (width, height), strict=True)
        )
        files.append(folder / f"{number:04d}.jpg")
        photograph.resize(SIZE, Image.Resampling.BICUBIC, (left, top, left + width, top + height)).save(
            files[-1], quality=QUALITY
        )
    return files


def _measure_split(files: Sequence[Path], recipe: Recipe, split: str, repeats: int) -> list[Timing]:
    ours = partial(our_pipeline, recipe, split)
    pipelines = {
        BASELINE: baseline_pipeline(recipe, split, as_float=True),
        "ours": ours(),
        "ours, normalised on the CPU": ours(as_float=True),
        REDUCED: ours(reduced=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    for _ in range(repeats):
        for name, pipeline in pipelines.items():
            seconds[name].append(_seconds(pipeline, files))
    baseline = seconds[BASELINE]
    reference = baseline_pipeline(recipe, split, as_float=False)
    timings = []
    for name, spent in seconds.items():
        ratio = statistics.median(theirs / own for theirs, own in zip(baseline, spent, strict=True))
        compared = {REDUCED: ours(reduced=True), BASELINE: reference}.get(name, ours())
        comparable = split == "val" or name != REDUCED  # a random crop is drawn in pixels of the decoded image
        difference = _difference(compared, reference, files[:50]) if comparable else (None, None)
        timings.append(Timing(split, name, round(len(files) / min(spent), 1), round(ratio, 3), *difference))
    return timings


def _seconds(pipeline: Pipeline, files: Sequence[Path]) -> float:
    """Processor time for all files, which other work on the machine does not count into; the files are in its cache."""
    torch.manual_seed(0)
    start = time.process_time()
    for file in files:
        pipeline(file)
    return time.process_time() - start


def _difference(pipeline: Pipeline, reference: Pipeline, files: Sequence[Path]) -> tuple[int, float]:
    """Largest and mean difference in grey levels, each file with its own seed."""
    largest, total, pixels = 0, 0, 0
    for seed, file in enumerate(files):
        images = []
        for load in (pipeline, reference):
            torch.manual_seed(seed)
            images.append(load(file).int())
        difference = (images[0] - images[1]).abs()
        largest = max(largest, int(difference.max()))
        total += int(difference.sum())
        pixels += difference.numel()
    return largest, round(total / pixels, 4)


def _words(row: dict[str, Any]) -> str:
    if row["largest_difference"] is None:
        return "crops other parts"
    return f"largest difference {row['largest_difference']} of 255, mean {row['mean_difference']}"


def _jpeg_files(folder: Path, count: int) -> list[Path]:
    names = [name for name in FolderStorage(folder).names("") if name.lower().endswith((".jpg", ".jpeg"))]
    if not names:
        raise DataError(f"the benchmark needs JPEG files; {folder} has none: name another folder, or none at all")
    return [folder / name for name in names[:count]]


def _row(timing: Timing, options: argparse.Namespace, files: Sequence[Path]) -> dict[str, Any]:
    return {
        "dataset": options.dataset,
        "transform": options.transform,
        **timing.__dict__,
        "files": len(files),
        "repeats": options.repeats,
        "source": "folder" if options.folder else "scikit-image photographs 500x375 quality 90",
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "date": datetime.now(timezone.utc).date().isoformat(),
        **{name: version(name) for name in ("torch", "torchvision", "pillow", "simplejpeg")},
    }
