"""What docs/study.md says of arms rather than of differences: error, gradient and smoothness by layer, and condition numbers.

    python -m scripts.study.arms [--results results/study]

Reads runs.csv and epochs.csv; writes arms.csv (a row a layer in the common setting) and condition.csv (a row a layer, schedule
and epoch).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.study.comparisons import read_epochs, read_runs
from scripts.study.questions import BASE, EXACT, PLANNED, matching, select
from scripts.study.rows import LAYER_OPTIONS

ARM_COLUMNS = ["layer", "route", "dtype", *LAYER_OPTIONS]
MEDIANS = ["gradient_error", "gradient_cosine", "gradient_norm", "beta_smoothness", "parameter_smoothness"]
CONDITION = ["condition_number", "condition_number_range", "rank"]


def in_common_setting(runs: pd.DataFrame, *free: str) -> pd.DataFrame:
    """The runs at the base values of everything but the layer, its precision and some columns."""
    return matching(runs, {column: value for column, value in BASE.items() if column not in ("dtype", *free)})


def arms(runs: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Mean outcome over seeds, and medians of the diagnostics over seeds and epochs, by layer.

    `difference` is the error less that of the exact root over equal seeds: arms with other seeds can be compared by it.
    """
    chosen = in_common_setting(runs[runs["seed"].isin(PLANNED)])
    chosen = chosen.assign(difference=chosen["error"] - chosen["seed"].map(select(runs, EXACT)["error"]))
    joined = epochs[["config_hash", *MEDIANS]].merge(chosen[["config_hash", *ARM_COLUMNS]], on="config_hash")
    keys = {"by": ARM_COLUMNS, "dropna": False, "sort": False}
    outcome = chosen.groupby(**keys).agg(
        n=("seed", "count"),
        failed=("status", lambda status: int((status != "finished").sum())),
        error=("error", "mean"),
        error_sd=("error", "std"),
        difference=("difference", "mean"),
        loss_area=("loss_area", "mean"),
    )
    medians = joined.groupby(**keys)[MEDIANS].median()
    worst = joined.groupby(**keys)[["gradient_error"]].max().add_suffix("_max")
    return outcome.join([medians, worst]).reset_index()


def condition(runs: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """Decades of the condition numbers by epoch, with and without decays, mean and deviation over seeds."""
    chosen = in_common_setting(runs, "decays")
    chosen = chosen[
        chosen["layer"].isin(["isqrt_cov", "svd_lyapunov"]) & (chosen["route"] == "auto") & (chosen["dtype"] == "float64")
    ]
    chosen = chosen[chosen["num_iterations"].isna() | (chosen["num_iterations"] == 5)]
    constant = set(chosen.loc[chosen["decays"] == "", "seed"])
    chosen = chosen[chosen["seed"].isin(constant)]
    joined = epochs.merge(chosen[["config_hash", "layer", "decays", "seed"]].rename(columns={"layer": "arm"}), on="config_hash")
    joined[CONDITION[:2]] = np.log10(joined[CONDITION[:2]])
    grouped = joined.groupby(["arm", "decays", "epoch"])[CONDITION]
    found = grouped.mean().join(grouped.std().add_suffix("_sd")).join(grouped.size().rename("n"))
    return found.reset_index()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/study"), help="folder of runs.csv and epochs.csv")
    folder = parser.parse_args().results
    runs, epochs = read_runs(folder), read_epochs(folder)
    for name, frame in (("arms", arms(runs, epochs)), ("condition", condition(runs, epochs))):
        frame.to_csv(folder / f"{name}.csv", index=False, float_format="%.4g", lineterminator="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
