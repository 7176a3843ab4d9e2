"""Question 1 of docs/study.md: how the gradient's error, and its cause, are distributed over images.

    python -m scripts.study.tail [--output results/study]

Rectified noise, one row a size, layer and precision: quantiles of the relative error over its median, and Hill's estimate of the
tail's index from the largest 5 % (the error exceeds x with a probability proportional to x^-index): tail.csv. And the smallest
gap between eigenvalues of the null space, in units of their median gap: of those that the decomposition returns, and of the
rounded covariance's own, from its null block in extended precision (`numpy.longdouble`, where that is longer): gaps.csv.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor

from gcp_repro.metalayers import build_meta_layer
from gcp_repro.paper.analytic.null_space import IMAGES, gradient_of, norms, random_upstream, rectified_noise, with_trace
from gcp_repro.training.result import git_revision
from scripts.study.gradient_error import DTYPES

BATCHES = 125  # of IMAGES images
TAIL = 0.05
EPS = float(np.finfo(np.float64).eps)
SIZES = ((64, 17, 100.0), (64, 17, 1000.0), (128, 49, 100.0))
LAYERS = (
    ("mpn_cov", {"route": "dense"}, "float64"),
    ("mpn_cov", {"route": "dense"}, "float32"),
    ("svd_taylor", {"route": "dense"}, "float32"),
    ("svd_trunc", {"route": "dense"}, "float32"),
    ("svd_trunc", {"route": "dense"}, "float64"),
)


def errors(channels: int, positions: int, trace: float, name: str, options: dict[str, Any], dtype: str) -> Tensor:
    """Relative errors of `BATCHES * IMAGES` images against float64 on the gram route, ascending."""
    found = []
    for seed in range(BATCHES):
        x = with_trace(rectified_noise(channels, positions, seed), trace).to(DTYPES[dtype]).double()
        upstream = random_upstream(IMAGES, channels, seed)
        exact = gradient_of(build_meta_layer(name, **options | {"route": "gram"}), x, upstream)
        got = gradient_of(build_meta_layer(name, dtype=dtype, **options), x, upstream)
        found.append(norms(got - exact) / norms(exact))
    return torch.cat(found).sort().values


def hill(ascending: Tensor) -> tuple[float, float]:
    """Index of the tail and its standard error."""
    count = int(TAIL * len(ascending))
    largest = ascending[-count:] / ascending[-count - 1]
    index = 1 / largest.log().mean().item()
    return index, index / count**0.5


def smallest_gaps(channels: int, positions: int, trace: float) -> tuple[Tensor, Tensor]:
    """Reciprocals of the normalised smallest gap of each image, ascending: of the matrix, and as decomposed."""
    own, returned = [], []
    for seed in range(BATCHES):
        x = with_trace(rectified_noise(channels, positions, seed), trace)
        product = (x - x.mean(-1, keepdim=True)) / positions @ x.mT
        covariances = product.tril() + product.tril(-1).mT  # what a decomposition that reads the lower triangle sees
        eigenvalues, vectors = torch.linalg.eigh(covariances)
        null = channels - positions + 1
        for matrix, values, basis in zip(covariances, eigenvalues[:, :null], vectors[:, :, :null], strict=True):
            wide = basis.numpy().astype(np.longdouble)
            block = wide.T @ matrix.numpy().astype(np.longdouble) @ wide
            scaled = ((block + block.T) / 2 / EPS).astype(np.float64)
            own.append(_reciprocal_gap(np.linalg.eigvalsh(scaled)))
            returned.append(_reciprocal_gap(values.numpy()))
    first, second = (torch.tensor(found).sort().values for found in (own, returned))
    return first, second


def _reciprocal_gap(ascending: npt.NDArray[np.float64]) -> float:
    gaps = np.diff(ascending)
    return float(np.median(gaps) / max(gaps.min(), np.finfo(np.float64).tiny))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("results/study"), help="folder to write to")
    output = parser.parse_args().output
    torch.set_num_threads(1)
    rows = []
    for channels, positions, trace in SIZES:
        for name, options, dtype in LAYERS:
            ascending = errors(channels, positions, trace, name, options, dtype)
            index, deviation = hill(ascending)
            median = ascending.quantile(0.5)
            quantiles = {f"over_median_{q:g}": (ascending.quantile(q) / median).item() for q in (0.9, 0.99, 0.999)}
            about = {"channels": channels, "positions": positions, "trace": trace, "layer": name, **options, "dtype": dtype}
            measured = {"images": len(ascending), "median": median.item(), **quantiles, "index": index, "index_error": deviation}
            rows.append(about | measured)
            print(rows[-1], flush=True)
    gaps = []
    for channels, positions, trace in SIZES[:2]:
        for spectrum, ascending in zip(
            ("of the matrix", "as decomposed"), smallest_gaps(channels, positions, trace), strict=True
        ):
            index, deviation = hill(ascending)
            about = {"channels": channels, "positions": positions, "trace": trace, "spectrum": spectrum, "images": len(ascending)}
            gaps.append(about | {"index": index, "index_error": deviation})
    for name, found in (("tail", rows), ("gaps", gaps)):
        table = pd.DataFrame(found).assign(git_revision=git_revision())
        table.to_csv(output / f"{name}.csv", index=False, float_format="%.4g", lineterminator="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
