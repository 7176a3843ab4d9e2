"""Question 1 of docs/study.md: the laws of the dense route's gradient error, fitted to the measured rows.

    python -m scripts.study.law [--results results/study] [--measure]

`--measure` first measures dense `mpn_cov` by null-space dimension on more images than gradient_error.csv has (exponent.csv, about
two minutes). Then, from both files, law.csv: a row a number on the page, with the rows that it rests on.

Two laws: of an image, `ROUNDING * rounding_term + floor_term`, whose terms stand in the rows; and of the median, from sizes
alone, `84 sqrt(eps) m0 m+^2 / sqrt(T C r (M + r / 4))`, with `m+` noise eigenvalues above the floor, `m0` at it, rank `r` and
trace `T`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats

from gcp_repro.paper.analytic.null_space import rectified_noise, trace_of, with_trace
from gcp_repro.training.result import git_revision
from scripts.study.gradient_error import DTYPES, TRACE, measure

ROUNDING = 3.3  # error over `eps ||R|| ||X|| / (sqrt(C) ||exact||)`, the median over all rows
SIZES = 84.0  # of the law from sizes
POSITIONS, CHANNELS = 49, (56, 64, 80, 96, 128, 160, 192, 256)
BATCHES = 8  # of IMAGES images
LEAST_DIMENSION = 32  # of the fits of exponents: below it the floor is a part of the error
CASE = ["features", "channels", "positions", "trace"]


def by_dimension(channels: int, dtype: str) -> dict[str, Any]:
    """The row of dense `mpn_cov` on rectified noise of some channels, at the common trace."""
    features = torch.cat([rectified_noise(channels, POSITIONS, seed) for seed in range(BATCHES)])
    features = with_trace(features, TRACE)
    size = {"channels": channels, "positions": POSITIONS, "null_dimension": channels - POSITIONS + 1, "rank": POSITIONS - 1}
    row = measure(features, "mpn_cov", {"route": "dense"}, dtype)[0]
    return {"features": "noise", **size, "trace": trace_of(features).median().item(), **row, "git_revision": git_revision()}


def two_terms(rows: pd.DataFrame) -> pd.Series:
    """Rounding term and floor term, added; without a null space nothing is at the floor."""
    return ROUNDING * rows["rounding_term"] + rows["floor_term"].where(rows["null_dimension"] > 0, 0.0)


def from_sizes(rows: pd.DataFrame) -> pd.Series:
    """The median's law."""
    eps = rows["dtype"].map({name: torch.finfo(dtype).eps for name, dtype in DTYPES.items()})
    above, rank = rows["noise_above_floor"], rows["rank"]
    at_floor = rows["null_dimension"] - above
    under = rows["trace"] * rows["channels"] * rank * (rows["null_dimension"] + rank / 4)
    return SIZES * np.sqrt(eps) * at_floor * above**2 / np.sqrt(under)


def of_the_root(gradient_error: pd.DataFrame) -> pd.DataFrame:
    """Rows of dense `mpn_cov` as published, with a null space, each case once."""
    chosen = gradient_error[(gradient_error["layer"] == "mpn_cov") & (gradient_error["route"] == "dense")]
    chosen = chosen[(chosen["order"] == "published") & (chosen["null_dimension"] > 0)]
    return chosen.drop_duplicates([*CASE, "dtype"])


def exponent(rows: pd.DataFrame, values: pd.Series) -> dict[str, float]:
    """Slope of the logarithms against the dimension's, with its 95 % interval."""
    chosen = rows["null_dimension"] >= LEAST_DIMENSION
    fit = stats.linregress(np.log(rows.loc[chosen, "null_dimension"]), np.log(values[chosen]))
    half = float(stats.t.ppf(0.975, int(chosen.sum()) - 2) * fit.stderr)
    return {"value": float(fit.slope), "low": float(fit.slope) - half, "high": float(fit.slope) + half, "rows": int(chosen.sum())}


def numbers(gradient_error: pd.DataFrame, by_size: pd.DataFrame) -> pd.DataFrame:
    """Every number that the page gives of the laws."""
    root = of_the_root(gradient_error)
    residuals = np.log10(root["error_median"] / two_terms(root))
    found: dict[str, dict[str, float]] = {
        "two terms: standard deviation, decades": {"value": float(residuals.std()), "rows": len(root)},
        "two terms: largest deviation, decades": {"value": float(residuals.abs().max()), "rows": len(root)},
    }
    medians = root.pivot(index=CASE, columns="dtype", values="error_median")
    ratios = medians["float32"] / medians["float64"] / 2**14.5
    within = int(ratios.between(1 / 3, 3).sum())
    found["float32 over float64, in units of 2^14.5: median"] = {"value": float(ratios.median()), "rows": len(ratios)}
    found["float32 over float64: sizes within a factor of 3"] = {"value": within, "rows": len(ratios)}
    noisy = root[
        (root["noise_above_floor"] > 2) & (root["trace"] < 2e4) & (ROUNDING * root["rounding_term"] > root["floor_term"])
    ]
    factors = noisy["error_median"] / from_sizes(noisy)
    found["law from sizes: median of error over law"] = {"value": float(factors.median()), "rows": len(noisy)}
    for factor in (2, 4):
        within = int(factors.between(1 / factor, factor).sum())
        found[f"law from sizes: rows within a factor of {factor}"] = {"value": within, "rows": len(noisy)}
    for dtype, rows in by_size.groupby("dtype"):
        found[f"exponent of M, noise, {dtype}"] = exponent(rows, rows["error_median"])
        found[f"exponent of M by the law from sizes, {dtype}"] = exponent(rows, from_sizes(rows))
    trained = root[root["features"].str.startswith("trained") & (root["positions"] == POSITIONS)]
    for dtype, rows in trained[trained["features"] == trained["features"].iloc[0]].groupby("dtype"):
        found[f"exponent of M, trained features, {dtype}"] = exponent(rows, rows["error_median"])
    return pd.DataFrame([{"name": name, **row} for name, row in found.items()], columns=["name", "value", "low", "high", "rows"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/study"), help="folder of the rows")
    parser.add_argument("--measure", action="store_true", help="measure exponent.csv anew")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    places = {name: arguments.results / f"{name}.csv" for name in ("gradient_error", "exponent", "law")}
    if arguments.measure:
        rows = [by_dimension(channels, dtype) for channels in CHANNELS for dtype in DTYPES]
        pd.DataFrame(rows).to_csv(places["exponent"], index=False, float_format="%.4g", lineterminator="\n")
    found = numbers(pd.read_csv(places["gradient_error"]), pd.read_csv(places["exponent"]))
    found.to_csv(places["law"], index=False, float_format="%.3g", lineterminator="\n")
    print(found.to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
