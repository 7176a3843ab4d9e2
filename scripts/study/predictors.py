"""Questions 5 and 6 of docs/study.md: whether condition number and smoothness predict the error; what decays change.

    python -m scripts.study.predictors [--results results/study]

Reads runs.csv, epochs.csv and arms.csv; writes predictors.csv: Spearman's rank correlations with the test error (over the seeds
of an arm, or over the means of arms), and paired differences in decades between schedules. Intervals of correlations are Fisher's
with Fieller's standard error `1.03 / sqrt(n - 3)`.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from scripts.study.comparisons import paired, read_epochs, read_runs
from scripts.study.questions import EXACT, NEWTON_SCHULZ, PLANNED, Arm, select

ARMS: dict[str, Arm] = {"exact root": EXACT, "Newton-Schulz": NEWTON_SCHULZ}
RANGE, PUBLISHED = "condition_number_range", "condition_number"
SMOOTHNESS = ("beta_smoothness", "parameter_smoothness")
NOISY_LAYERS = ("mpn_cov", "svd_pade", "svd_taylor")  # and svd_trunc with T = 1e10, each dense in float32


def rank_correlation(one: pd.Series, other: pd.Series) -> dict[str, float]:
    """Spearman's coefficient, its interval and p-value."""
    n = len(one)
    if n < 4:
        return {"n": n, "value": math.nan, "low": math.nan, "high": math.nan, "p": math.nan}
    found = stats.spearmanr(one, other)
    z, half = math.atanh(float(found.statistic)), 1.96 * 1.03 / math.sqrt(n - 3)
    return {
        "n": n,
        "value": float(found.statistic),
        "low": math.tanh(z - half),
        "high": math.tanh(z + half),
        "p": float(found.pvalue),
    }


def at_the_end(runs: pd.DataFrame, epochs: pd.DataFrame, arm: Arm, column: str) -> pd.DataFrame:
    """Test error of an arm and the decades of a column in its last epoch, by seed."""
    chosen = select(runs[runs["seed"].isin(PLANNED)], arm).reset_index()
    last = epochs.sort_values("epoch").groupby("config_hash")[column].last()
    return chosen.assign(end=np.log10(chosen["config_hash"].map(last))).set_index("seed")[["error", "end"]].dropna()


def of_condition(runs: pd.DataFrame, epochs: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of question 5."""
    for name, arm in ARMS.items():
        for column in (RANGE, PUBLISHED):
            ends = at_the_end(runs, epochs, arm, column)
            constant = at_the_end(runs, epochs, arm | {"decays": ""}, column)
            about = {"question": 5, "predictor": column, "over": f"seeds, {name}"}
            yield about | {"measure": "rank correlation with error"} | rank_correlation(ends["end"], ends["error"])
            found = paired(ends["end"], constant["end"])
            difference = {key: found[key] for key in ("n", "low", "high", "p")} | {"value": found["difference"]}
            yield about | {"measure": "decays less constant rate, decades"} | difference


def without_noise(arms: pd.DataFrame) -> pd.Series:
    """Which arms are free of null-space noise: all but the dense float32 layers that question 1 names."""
    noisy = arms["layer"].isin(NOISY_LAYERS) | ((arms["layer"] == "svd_trunc") & (arms["max_gradient"] == 1e10))
    return ~(noisy & (arms["dtype"] == "float32") & (arms["route"] == "dense"))


def of_smoothness(arms: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Rows of question 6."""
    usable = arms[arms[list(SMOOTHNESS)].notna().all(axis=1) & (arms["n"] >= 3)]
    quiet = without_noise(usable)
    for column in SMOOTHNESS:
        for over, chosen in (("arms, all", usable), ("arms without noise", usable[quiet])):
            about = {"question": 6, "predictor": column, "over": over}
            yield about | {"measure": "rank correlation with error"} | rank_correlation(chosen[column], chosen["difference"])
            spread = {"n": len(chosen), "value": chosen[column].max() / chosen[column].min()}
            yield about | {"measure": "largest over smallest"} | spread
        ratio = {"n": int((~quiet).sum()), "value": usable.loc[~quiet, column].median() / usable.loc[quiet, column].median()}
        yield {"question": 6, "predictor": column, "over": "arms with noise", "measure": "median over that without noise"} | ratio


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/study"), help="folder of the rows")
    folder = parser.parse_args().results
    rows = [*of_condition(read_runs(folder), read_epochs(folder)), *of_smoothness(pd.read_csv(folder / "arms.csv"))]
    pd.DataFrame(rows).to_csv(folder / "predictors.csv", index=False, float_format="%.4g", lineterminator="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
