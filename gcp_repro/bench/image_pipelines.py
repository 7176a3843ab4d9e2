"""What is timed by `gcp-bench data`: one image at a time, and whole loaders, ours and torchvision's."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms as v1
from torchvision.datasets import ImageFolder

from gcp_repro.data.base import normalize
from gcp_repro.data.image_files import ImageFilesDataModule
from gcp_repro.data.image_set import ImageSet
from gcp_repro.data.reader import decode_rgb
from gcp_repro.data.storage import FolderStorage
from gcp_repro.data.transforms import Recipe, build_eval_transform, build_train_transform

__all__ = [
    "Pipeline", "baseline_loader", "baseline_pipeline", "dali_loader", "our_loader", "our_pipeline", "processor_seconds",
    "seconds_of_epoch", "workers_alone", "write_photographs",
]  # fmt: skip

SIZE = (500, 375)  # the most frequent size in ImageNet
QUALITY = 90
BATCH = 50

Pipeline = Callable[[Path], Tensor]
"""Maps a JPEG file to what a worker makes of it."""


def baseline_transform(recipe: Recipe, split: str, *, as_float: bool) -> Callable[[Any], Tensor]:
    """Torchvision's first transforms.

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
    transform: Callable[[Any], Tensor] = v1.Compose(steps + tail)
    return transform


def baseline_pipeline(recipe: Recipe, split: str, *, as_float: bool) -> Pipeline:
    """Pillow and torchvision's first transforms, as the peer's code does it; arguments as `baseline_transform`."""
    transform = baseline_transform(recipe, split, as_float=as_float)

    def load(path: Path) -> Tensor:
        with path.open("rb") as file:
            return transform(Image.open(file).convert("RGB"))

    return load


def our_pipeline(recipe: Recipe, split: str, *, as_float: bool = False, reduced: bool = False) -> Pipeline:
    """What a worker of our loaders does with an image.

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


def baseline_loader(folder: Path, recipe: Recipe, split: str, workers: int) -> Iterable[Any]:
    """Torchvision's `ImageFolder` and torch's `DataLoader` over class folders, ending in normalised floats."""
    return DataLoader(
        ImageFolder(str(folder), baseline_transform(recipe, split, as_float=True)),
        batch_size=BATCH,
        shuffle=split == "train",
        num_workers=workers,
        persistent_workers=workers > 0,
    )


def our_loader(files: Sequence[Path], dataset: str, transform: str, split: str, workers: int) -> Iterable[Any]:
    """The loader of our data module over some files, ending in bytes.

    Args:
        files: Images, by absolute paths.
        dataset: Whose transforms are used.
        transform: "reference" or "paper".
        split: "train" or "val".
        workers: Processes that load.
    """
    module = ImageFilesDataModule(dataset, "/", transform=transform, batch_size=BATCH, num_workers=workers)
    samples = [(str(file), 0) for file in files]
    module.image_set = ImageSet(samples, samples, ("any",), FolderStorage(Path("/")))
    module.setup("fit")
    return module.train_dataloader() if split == "train" else module.val_dataloader()


def workers_alone(files: Sequence[Path], pipeline: Pipeline, workers: int) -> Iterable[Any]:
    """A pipeline in torch's workers, which hand nothing over: what any loader with so many of them stays below."""
    return DataLoader(
        _Made(files, pipeline), batch_size=BATCH, num_workers=workers, persistent_workers=workers > 0, collate_fn=len
    )


class _Made(Dataset[Tensor]):
    def __init__(self, files: Sequence[Path], pipeline: Pipeline) -> None:
        self.files = files
        self.pipeline = pipeline

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, number: int) -> Tensor:
        return self.pipeline(self.files[number])


def dali_loader(files: Sequence[Path], recipe: Recipe, split: str) -> Iterable[Any] | None:
    """NVIDIA's DALI on the CPU, one thread, ending in bytes; None where it is not installed or the recipe is not ImageNet's."""
    try:
        from nvidia.dali import fn, pipeline_def
    except ImportError:
        return None
    if recipe.train != "random_resized" or not isinstance(recipe.resize, int):
        return None

    def images() -> Any:
        encoded, _ = fn.readers.file(files=[str(file) for file in files], random_shuffle=split == "train")
        if split == "val":
            whole = fn.resize(fn.decoders.image(encoded), resize_shorter=recipe.resize, antialias=True)
            return fn.crop(whole, crop=(recipe.crop, recipe.crop))
        part = fn.decoders.image_random_crop(encoded, random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3])
        return fn.flip(fn.resize(part, size=[recipe.crop] * 2, antialias=True), horizontal=fn.random.coin_flip())

    pipe = pipeline_def(images)(batch_size=BATCH, num_threads=1, device_id=None)
    pipe.build()
    return _Runs(pipe, -(-len(files) // BATCH))


class _Runs:
    def __init__(self, pipe: Any, batches: int) -> None:
        self.pipe = pipe
        self.batches = batches

    def __iter__(self) -> Iterator[Any]:
        return (self.pipe.run() for _ in range(self.batches))


def seconds_of_epoch(loader: Iterable[Any]) -> float:
    """Processor time of an epoch, in this process and in the workers, which are kept for the next one."""
    workers = [worker.pid for worker in getattr(getattr(loader, "_iterator", None), "_workers", [])]
    start = sum(map(processor_seconds, (None, *workers)))
    for _ in loader:
        pass
    return sum(map(processor_seconds, (None, *workers))) - start


def processor_seconds(process: int | None) -> float:
    """Processor time that a process has used so far; None is this one. Linux numbers the clocks of others by their process."""
    return time.process_time() if process is None else time.clock_gettime((~process << 3) | 2)


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
