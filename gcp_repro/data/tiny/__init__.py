"""Tiny data sets in every layout, to try a configuration and to test what reads them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from gcp_repro.data.tiny import writers
from gcp_repro.data.tiny.writers import Tiny
from gcp_repro.errors import OptionError, UnknownNameError

__all__ = ["TINY", "Tiny", "tiny_root", "write_tiny"]

TINY: dict[str, Callable[[Path, Tiny], None]] = {
    "imagenet": writers.write_imagenet,
    "imagenet_flat": writers.write_imagenet_flat,
    "imagenet_tar": writers.write_imagenet_tars,
    "imagenet_parquet": writers.write_imagenet_parquet,
    "imagenet_webdataset": writers.write_imagenet_webdataset,
    "tiny_imagenet": writers.write_tiny_imagenet,
    "imagenette": writers.write_imagenet,
    "birds": writers.write_birds,
    "dogs": writers.write_dogs,
    "cars": writers.write_cars,
    "cars_car_ims": writers.write_car_ims,
    "aircraft": writers.write_aircraft,
    "image_folder": writers.write_image_folder,
    "fashion_mnist": writers.write_fashion_mnist,
    "cifar10": writers.write_cifar10,
    "cifar100": writers.write_cifar100,
}
"""Writers by name: a data set, or a data set in one of its other layouts."""

MOST_CLASSES = 4
VERSION = 1  # of what the writers write; a new number leaves cached sets behind


def write_tiny(name: str, root: Path, tiny: Tiny | None = None) -> Path:
    """Write a tiny data set into a folder that is empty or does not exist, and return the folder.

    Raises:
        UnknownNameError: No such data set.
        OptionError: The folder holds something, or a size is out of range.
    """
    tiny = tiny or Tiny()
    if name not in TINY:
        raise UnknownNameError("tiny data set", name, TINY)
    most = len(writers.WNIDS) if "imagenet" in name else MOST_CLASSES
    if not 1 <= tiny.classes <= most or min(tiny.train, tiny.val, *tiny.size) < 1:
        raise OptionError(
            f"a tiny data set needs 1 to {most} classes and at least 1 image and pixel; got {tiny}: choose other sizes"
        )
    if root.exists() and any(root.iterdir()):
        raise OptionError(f"a tiny data set needs an empty folder; {root} holds files: name another one")
    root.mkdir(parents=True, exist_ok=True)
    TINY[name](root, tiny)
    return root


def tiny_root(name: str) -> Path:
    """A tiny data set in the user's cache folder, written at first use.

    The folder appears in one step, so that processes that start together can share it.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gcp_repro" / f"tiny-{VERSION}"
    root = cache / name
    if not root.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=".unfinished-") as folder:
            written = write_tiny(name, Path(folder) / name)
            try:
                written.rename(root)
            except OSError:
                if not root.exists():  # else another process was faster
                    raise
    return root
