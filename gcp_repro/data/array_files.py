"""Reading the files of small images that come as arrays: IDX, and the pickled batches of CIFAR, of which no code is run."""

from __future__ import annotations

import gzip
import pickle
import struct
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from gcp_repro.data.image_set import Split
from gcp_repro.errors import DataError
from gcp_repro.stand_ins import refuse_stand_in

__all__ = ["IDX_UINT8", "Arrays", "read_cifar10", "read_cifar100", "read_fashion_mnist", "read_idx"]

Arrays = tuple[np.ndarray, np.ndarray]
"""Images `(N, C, H, W)`, uint8, and labels `(N,)`, int64."""

IDX_UINT8 = 0x08


def read_idx(path: Path) -> np.ndarray:
    """The array in an IDX file of bytes, compressed by gzip or not.

    Args:
        path: Its name without `.gz`; the compressed file is taken where the plain one is absent.

    Raises:
        DataError: The file is missing, of another kind, or its length is not what its header says.
    """
    plain = path.exists()
    source = path if plain else path.with_name(f"{path.name}.gz")
    refuse_stand_in(source)
    try:
        content = source.read_bytes() if plain else gzip.decompress(source.read_bytes())
        _, kind, dimensions = struct.unpack_from(">HBB", content)
        shape = struct.unpack_from(f">{dimensions}I", content, 4)
    except (OSError, EOFError, struct.error, gzip.zlib.error) as error:  # type: ignore[attr-defined]
        raise DataError(f"an IDX file is needed at {source}; reading it gave {error}: fetch it again") from error
    start, size = 4 + 4 * dimensions, int(np.prod(shape, dtype=np.int64))
    if kind != IDX_UINT8 or len(content) != start + size:
        raise DataError(
            f"an IDX file of bytes is needed at {source}; its header promises {size} of kind 0x{kind:02x} and "
            f"{len(content) - start} follow: fetch it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def read_fashion_mnist(root: Path, split: Split) -> Arrays:
    """A split of Fashion-MNIST, from its two files."""
    prefix = "train" if split == "train" else "t10k"
    images, labels = read_idx(root / f"{prefix}-images-idx3-ubyte"), read_idx(root / f"{prefix}-labels-idx1-ubyte")
    return images[:, None], labels.astype(np.int64)


def read_cifar10(root: Path, split: Split) -> Arrays:
    """A split of CIFAR-10, from its batches."""
    names = [f"data_batch_{number}" for number in range(1, 6)] if split == "train" else ["test_batch"]
    parts = [_read_batch(root / name, "labels") for name in names]
    return np.concatenate([images for images, _ in parts]), np.concatenate([labels for _, labels in parts])


def read_cifar100(root: Path, split: Split) -> Arrays:
    """A split of CIFAR-100, with the finer of its two labels."""
    return _read_batch(root / ("train" if split == "train" else "test"), "fine_labels")


class _ArrayUnpickler(pickle.Unpickler):
    """Loads containers and numpy arrays, and refuses to run anything else that a pickle asks for."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "numpy" and name in ("ndarray", "dtype", "_reconstruct", "scalar"):
            return super().find_class(module.replace("numpy.core", "numpy._core") if hasattr(np, "_core") else module, name)
        if (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"it asks for {module}.{name}, which arrays have no need of")


def _unpickle(file: BinaryIO) -> dict[str, Any]:
    content = _ArrayUnpickler(file, encoding="bytes").load()
    return {key.decode() if isinstance(key, bytes) else key: value for key, value in content.items()}


def _read_batch(path: Path, labels: str) -> Arrays:
    refuse_stand_in(path)
    try:
        with path.open("rb") as file:
            batch = _unpickle(file)
        return np.asarray(batch["data"], dtype=np.uint8).reshape(-1, 3, 32, 32), np.asarray(batch[labels], dtype=np.int64)
    except (OSError, EOFError, pickle.UnpicklingError, KeyError, ValueError, AttributeError) as error:
        raise DataError(
            f"a CIFAR batch with data and {labels} is needed at {path}; reading it gave {type(error).__name__}: {error}: "
            "fetch it again"
        ) from error
