"""Appendix G: how far runs that differ in the seed alone lie apart, by epoch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gcp_repro.paper.store.settings import Setting, Variant, cell_anchor
from gcp_repro.paper.tables.table import MISSING, Cell, Column, Table, label

__all__ = ["MIN_SEEDS", "seeds_table", "spread_by_epoch", "stage_ends"]

MIN_SEEDS = 3
"""Fewest seeds for which a spread is shown; the paper has five."""
ERROR = "val/top1_error"
STAGES = 3


def spread_by_epoch(setting: Setting, variant: Variant) -> pd.DataFrame:
    """Spread of the validation top-1 error over the seeds of the finished standalone runs.

    Returns:
        By epoch: `n`, `sd` (divisor n - 1) and `range` (largest less smallest), in points; empty with fewer than
        `MIN_SEEDS` seeds.
    """
    empty = pd.DataFrame(columns=["n", "sd", "range"])
    runs = setting.select(variant, "standalone")
    runs = runs[runs["status"] == "finished"]
    if runs["seed"].nunique() < MIN_SEEDS or ERROR not in setting.epochs:
        return empty
    errors = setting.epochs[setting.epochs["run"].isin(runs["run"])].dropna(subset=[ERROR]).groupby("epoch")[ERROR]
    spread = pd.DataFrame({"n": errors.count(), "sd": errors.std(), "range": errors.max() - errors.min()})
    return spread[spread["n"] >= MIN_SEEDS]


def stage_ends(setting: Setting) -> list[int]:
    """Last epoch of each stage of the learning rate."""
    if "learning_rate" not in setting.epochs or not len(setting.epochs):
        return []
    rates = setting.epochs.groupby("epoch")["learning_rate"].median()
    return [*(int(epoch) - 1 for epoch in rates.index[rates.diff() < 0]), int(rates.index[-1])]


def seeds_table(settings: Sequence[Setting]) -> Table:
    """Spread over seeds at the end of each stage, every layer beside the paper's statement on SVD-Pade."""
    blanks = [MISSING] * (2 * STAGES - 1)
    rows = [(label("paper: AlexNet, ImageNet"), label("SVD-Pade"), Cell("5", 5.0, "published"), *blanks, label("within 0.1"))]
    for setting in settings:
        ends = stage_ends(setting)
        for variant in setting.trained("standalone"):
            spread = spread_by_epoch(setting, variant)
            if len(spread) and len(ends) == STAGES:
                link = f"#{cell_anchor(setting, variant, 'standalone')}"
                count = int(spread["n"].max())
                seeds = Cell(str(count), float(count), "measured", link)
                cells = [_cell(spread, end, column, link) for column in ("sd", "range") for end in ends]
                rows.append((label(setting.experiment), label(setting.name(variant)), seeds, *cells))
    stages = [f"stage {number}" for number in range(1, STAGES + 1)]
    groups = ("standard deviation at the end of", "largest less smallest at the end of")
    return Table(
        "appendix_g",
        "Appendix G: spread over seeds",
        (Column("setting"), Column("layer"), Column("seeds"), *(Column(stage, group) for group in groups for stage in stages)),
        tuple(rows),
        caption=(
            f"Validation top-1 error, points, over the seeds of finished standalone runs; layers with {MIN_SEEDS} seeds or more. "
            "A decay of the learning rate ends a stage."
        ),
        notes=("With few seeds the range is smaller than it would be with many: compare rows with equal numbers of seeds only.",),
    )


def _cell(spread: pd.DataFrame, epoch: int, column: str, link: str) -> Cell:
    if epoch not in spread.index:
        return MISSING
    value = float(spread.loc[epoch, column])
    return Cell(f"{value:.2f}", value, "measured", link)
