"""Statistics of docs/study.md: paired differences, their intervals, Holm's correction.

    python -m scripts.study.comparisons [--results results/study]

Reads runs.csv and writes comparisons.csv, a row a comparison and outcome.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from scripts.study.questions import Comparison, comparisons

OUTCOMES = ("error", "loss_area")
CONFIDENCE = 0.95
HASH = "config_hash"  # text: eight digits of one would be read as a number


def paired(arm: pd.Series, reference: pd.Series) -> dict[str, Any]:
    """Mean difference over the seeds that both have, Student's 95 % interval and p-value, and the p-value of the sign test.

    Without spread the interval is the mean, and p is 1 or 0. The sign test drops ties.
    """
    seeds = arm.index.intersection(reference.index)
    differences = (arm[seeds] - reference[seeds]).to_numpy(dtype=float)
    n, mean = len(differences), float(differences.mean()) if len(differences) else math.nan
    positive, untied = int((differences > 0).sum()), int((differences != 0).sum())
    found = {"n": n, "arm_mean": arm[seeds].mean(), "reference_mean": reference[seeds].mean(), "difference": mean}
    signs = {"positive": positive, "p_sign": stats.binomtest(positive, untied).pvalue if untied else math.nan}
    if n < 2:
        return found | {"low": math.nan, "high": math.nan, "p": math.nan} | signs
    error = differences.std(ddof=1) / math.sqrt(n)
    half = error * stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)
    p = 2 * stats.t.sf(abs(mean) / error, n - 1) if error > 0 else float(mean == 0)
    return found | {"low": mean - half, "high": mean + half, "p": float(p)} | signs


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected by Holm's step-down method; NaN stays NaN and does not count.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, dtype=float)
    corrected = np.full(len(values), math.nan)
    order = [index for index in np.argsort(values) if not math.isnan(values[index])]
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * values[index]))
        corrected[index] = largest
    return [float(value) for value in corrected]


def compare(runs: pd.DataFrame, comparison: Comparison) -> list[dict[str, Any]]:
    """A comparison's row for each outcome."""
    arm, reference = comparison.outcomes(runs)
    failed = {"failed": int((arm["status"] != "finished").sum())}
    about = {"question": comparison.question, "family": comparison.family, "comparison": comparison.name}
    return [about | {"outcome": outcome} | paired(arm[outcome], reference[outcome]) | failed for outcome in OUTCOMES]


def table(runs: pd.DataFrame) -> pd.DataFrame:
    """All comparisons, corrected within question, family and outcome."""
    frame = pd.DataFrame([row for comparison in comparisons(runs) for row in compare(runs, comparison)])
    frame["p_holm"] = frame.groupby(["question", "family", "outcome"])["p"].transform(lambda values: holm(list(values)))
    return frame


def read_runs(folder: Path) -> pd.DataFrame:
    """The rows of runs.csv; text columns without a value are empty."""
    words = ["hidden", "decays"]
    return pd.read_csv(folder / "runs.csv", dtype=dict.fromkeys([*words, HASH], str)).fillna(dict.fromkeys(words, ""))


def read_epochs(folder: Path) -> pd.DataFrame:
    """The rows of epochs.csv."""
    return pd.read_csv(folder / "epochs.csv", dtype={HASH: str})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/study"), help="folder of runs.csv")
    folder = parser.parse_args().results
    frame = table(read_runs(folder))
    frame.to_csv(folder / "comparisons.csv", index=False, float_format="%.4g", lineterminator="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
