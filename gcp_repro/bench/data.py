"""Images a second and core: our reading and transforms against Pillow with torchvision's first transforms, in one run."""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from importlib.metadata import packages_distributions, version
from pathlib import Path
from typing import Any

import torch

from gcp_repro.bench.image_pipelines import (
    Pipeline,
    baseline_loader,
    baseline_pipeline,
    dali_loader,
    our_loader,
    our_pipeline,
    processor_seconds,
    seconds_of_epoch,
    workers_alone,
    write_photographs,
)
from gcp_repro.data.reader import decode_rgb
from gcp_repro.data.storage import FolderStorage
from gcp_repro.data.transforms import find_recipe
from gcp_repro.errors import DataError, MissingPathError, OptionError
from gcp_repro.runs.files import refuse_unwritable

__all__ = ["Timing", "add_arguments", "measure", "run"]

BASELINE = "pillow + torchvision v1"
OURS = "ours"
REDUCED = "ours, reduced decoding"


@dataclass(frozen=True)
class Timing:
    """Speed of one pipeline.

    Args:
        split: "train" or "val".
        pipeline: Its name.
        images_per_second: For a second of one core, in the fastest repeat; the workers' time counts.
        ratio: Median over the repeats of the speed over the baseline's in the same repeat.
        share_of_function: The same over that of "ours", which is what a worker does without the loader around it.
        largest_difference: Grey levels, against the baseline on the same files with the same random numbers.
        mean_difference: The same, averaged over all pixels. Both are None where the pipelines crop different parts, and of
            loaders, which shuffle.
    """

    split: str
    pipeline: str
    images_per_second: float
    ratio: float
    share_of_function: float
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
    parser.add_argument("--workers", type=int, nargs="*", default=[0, 1, 2], help="numbers of workers to measure loaders with")
    parser.add_argument("--csv", type=Path, help="write the rows to this file")


def run(options: argparse.Namespace) -> None:
    """Measure, print, and write the csv if asked for.

    Raises:
        DataError: The folder holds no JPEG files, or one that is damaged.
        OptionError: A number out of range, or rows that cannot be written where they should be.
    """
    if min(options.images, options.repeats) < 1:
        raise OptionError(
            f"the benchmark needs at least 1 image and repeat; got {options.images} and {options.repeats}: raise them"
        )
    if min(options.workers, default=0) < 0:
        raise OptionError(f"--workers needs numbers of at least 0; got {min(options.workers)}: 0 loads without any")
    if options.csv is not None:
        refuse_unwritable("--csv", options.csv)
    find_recipe(options.transform, options.dataset)  # a wrong name shows before any work
    with tempfile.TemporaryDirectory() as folder:
        files = _jpeg_files(options.folder, options.images) if options.folder else write_photographs(Path(folder), options.images)
        timings = measure(files, options.dataset, options.transform, repeats=options.repeats, workers=options.workers)
        rows = [_row(timing, options, files) for timing in timings]
    print(f"{options.dataset}, {options.transform} transform, {len(files)} files, images a second of one core")
    for row in rows:
        print(
            f"{row['split']:6}{row['pipeline']:38}{row['images_per_second']:8.1f} images/s {row['ratio']:6.2f} x   {_words(row)}"
        )
    if options.csv is not None:
        options.csv.parent.mkdir(parents=True, exist_ok=True)
        with options.csv.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0], lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)


def measure(files: Sequence[Path], dataset: str, transform: str, *, repeats: int, workers: Sequence[int] = ()) -> list[Timing]:
    """Time all pipelines and loaders on the same files, in turns, with one thread.

    Args:
        files: JPEG files.
        dataset: Whose transforms are measured.
        transform: "reference" or "paper".
        repeats: Rounds.
        workers: Numbers of workers to time loaders with.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with tempfile.TemporaryDirectory() as name:
            _in_class_folders(files, Path(name))
            return [
                timing
                for split in ("train", "val")
                for timing in _measure_split(files, Path(name), dataset, transform, split, repeats, workers)
            ]
    finally:
        _show("")
        torch.set_num_threads(threads)


def _measure_split(
    files: Sequence[Path], folder: Path, dataset: str, transform: str, split: str, repeats: int, workers: Sequence[int]
) -> list[Timing]:
    recipe = find_recipe(transform, dataset)
    ours = partial(our_pipeline, recipe, split)
    pipelines: dict[str, Pipeline] = {
        BASELINE: baseline_pipeline(recipe, split, as_float=True),
        OURS: ours(),
        "ours, normalised on the CPU": ours(as_float=True),
        REDUCED: ours(reduced=True),
    }
    timed: dict[str, Callable[[], float]] = {name: partial(_seconds, pipeline, files) for name, pipeline in pipelines.items()}
    loaders: dict[str, Iterable[Any] | None] = {"DALI on the CPU": dali_loader(files, recipe, split)}
    for count in workers:
        ending = f"with {count} worker{'' if count == 1 else 's'}"
        if count:
            loaders[f"ours, nothing handed over, {ending}"] = workers_alone(files, ours(), count)
        loaders[f"torchvision, loader {ending}"] = baseline_loader(folder, recipe, split, count)
        loaders[f"ours, loader {ending}"] = our_loader(files, dataset, transform, split, count)
    for name, loader in loaders.items():
        if loader is not None:
            for _ in loader:  # workers start, and the files come into the cache
                pass
            timed[name] = partial(seconds_of_epoch, loader)
    seconds: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(repeats):
        for name, measure_once in timed.items():
            _show(f"{split}, round {number + 1} of {repeats}: {name}")
            torch.manual_seed(0)
            seconds[name].append(measure_once())
    reference = baseline_pipeline(recipe, split, as_float=False)
    timings = []
    for name, spent in seconds.items():
        ratio, of_function = (
            round(statistics.median(theirs / own for theirs, own in zip(seconds[other], spent, strict=True)), 3)
            for other in (BASELINE, OURS)
        )
        compared = {REDUCED: ours(reduced=True), BASELINE: reference}.get(name, ours())
        comparable = name in pipelines and (split == "val" or name != REDUCED)  # random crops are drawn in decoded pixels
        difference = _difference(compared, reference, files[:50]) if comparable else (None, None)
        timings.append(Timing(split, name, round(len(files) / min(spent), 1), ratio, of_function, *difference))
    return timings


def _seconds(pipeline: Pipeline, files: Sequence[Path]) -> float:
    """Processor time for all files, which other work on the machine does not count into; the files are in its cache."""
    start = processor_seconds(None)
    for file in files:
        pipeline(file)
    return processor_seconds(None) - start


def _show(words: str) -> None:
    """A line that is rewritten as the work goes on."""
    print(f"\r{words:<90}", end="", file=sys.stderr, flush=True)


def _in_class_folders(files: Sequence[Path], folder: Path) -> None:
    """Links to the files in two folders of classes, which `ImageFolder` needs."""
    for number, file in enumerate(files):
        place = folder / str(number % 2)
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number}{file.suffix}").symlink_to(file.resolve())


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
        share = row["share_of_function"]
        return "crops other parts" if row["pipeline"] == REDUCED else f"{100 * share:.0f} % of ours without a loader"
    return f"largest difference {row['largest_difference']} of 255, mean {row['mean_difference']}"


def _jpeg_files(folder: Path, count: int) -> list[Path]:
    if not folder.is_dir():
        raise MissingPathError(
            f"the benchmark needs a folder of JPEG files; there is none at {folder}: name another, or none at all"
        )
    names = [name for name in FolderStorage(folder).names("") if name.lower().endswith((".jpg", ".jpeg"))]
    if not names:
        raise DataError(f"the benchmark needs JPEG files; {folder} has none: name another folder, or none at all")
    files = [folder / name for name in names[:count]]
    for file in files:
        decode_rgb(file.read_bytes(), str(file))  # or it would be named in the middle, as a copy
    return files


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
        "dali": _dali_version(),
    }


def _dali_version() -> str | None:
    names = (name for name in packages_distributions().get("nvidia", []) if name.startswith("nvidia-dali"))
    return next((version(name) for name in names), None)
