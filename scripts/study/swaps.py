"""Question 4 of docs/study.md: gradient norm and training loss at the swap, against Newton-Schulz throughout.

    python -m scripts.study.swaps [--results results/study]

Reads runs.csv and epochs.csv; writes swaps.csv, a row a schedule, warm-up and epoch from the swap on: the ratio of gradient norms
(of the loss with respect to the features, geometric mean over seeds) and the difference of training losses, both with Student's
95 % interval.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.study.comparisons import paired, read_epochs, read_runs
from scripts.study.questions import DENSE_FLOAT32, NEWTON_SCHULZ, PLANNED, Arm, select

SWAP_LAYER: Arm = {"layer": "mpn_cov", "protocol": "hybrid"} | DENSE_FLOAT32


def by_epoch(runs: pd.DataFrame, epochs: pd.DataFrame, arm: Arm, column: str) -> pd.DataFrame:
    """A column of an arm's epochs: rows are epochs, columns seeds."""
    chosen = select(runs[runs["seed"].isin(PLANNED)], arm).reset_index()
    joined = epochs.merge(chosen[["config_hash", "seed"]], on="config_hash")
    return joined.pivot(index="epoch", columns="seed", values=column)


def table(runs: pd.DataFrame, epochs: pd.DataFrame) -> pd.DataFrame:
    """All schedules and warm-ups that have runs."""
    rows = []
    for decays, last_decay in (("5 8", 8), ("8", 8)):
        for warmup in (0, 1, 2, 3):
            arms = SWAP_LAYER | {"decays": decays, "warmup_epochs": warmup}, NEWTON_SCHULZ | {"decays": decays}
            norms, loss = ([by_epoch(runs, epochs, arm, column) for arm in arms] for column in ("gradient_norm", "train_loss"))
            for epoch in norms[0].index[norms[0].index >= last_decay - warmup]:
                ratio = paired(*(np.log(frame.loc[epoch]) for frame in norms))
                difference = paired(*(frame.loc[epoch] for frame in loss))
                row = {
                    "decays": decays,
                    "warmup_epochs": warmup,
                    "epoch": epoch + 1,
                    "after_swap": epoch + 1 - last_decay + warmup,
                }
                row |= {"n": ratio["n"], "norm_ratio": np.exp(ratio["difference"])}
                row |= {f"norm_ratio_{end}": np.exp(ratio[end]) for end in ("low", "high")}
                row |= {"loss_difference": difference["difference"]}
                rows.append(row | {f"loss_difference_{end}": difference[end] for end in ("low", "high")})
    return pd.DataFrame(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("results/study"), help="folder of runs.csv and epochs.csv")
    folder = parser.parse_args().results
    frame = table(read_runs(folder), read_epochs(folder))
    frame.to_csv(folder / "swaps.csv", index=False, float_format="%.4g", lineterminator="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
