"""Cut the subset of Fashion-MNIST that the package carries out of the whole set.

    python scripts/make_fashion_mnist_small.py FOLDER [--output DIR]

FOLDER holds the four IDX files, as in Debian's package dataset-fashion-mnist. The first images of each part are taken.
"""

from __future__ import annotations

import argparse
import gzip
import struct
from pathlib import Path

import numpy as np

from gcp_repro.data.array_files import IDX_UINT8, read_idx
from gcp_repro.data.arrays import ARRAY_SETS

EXPECTED = ARRAY_SETS["fashion_mnist_small"].expected
SIZES = {"train": EXPECTED.train, "t10k": EXPECTED.val}


def write_idx(path: Path, array: np.ndarray) -> None:
    header = struct.pack(f">HBB{array.ndim}I", 0, IDX_UINT8, array.ndim, *array.shape)
    path.write_bytes(gzip.compress(header + array.tobytes(), compresslevel=9, mtime=0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--output", type=Path, default=Path("gcp_repro/data/fashion_mnist_small"))
    arguments = parser.parse_args()
    for part, size in SIZES.items():
        for kind in ("images-idx3-ubyte", "labels-idx1-ubyte"):
            write_idx(arguments.output / f"{part}-{kind}.gz", read_idx(arguments.folder / f"{part}-{kind}")[:size])


if __name__ == "__main__":
    main()
