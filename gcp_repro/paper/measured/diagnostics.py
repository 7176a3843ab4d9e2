"""What the diagnostics callbacks logged: the form of Table 1, and every column `diagnostics/*` at the last epoch."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from gcp_repro.paper.measured.errors import VARIANT_HEADINGS, variant_cells
from gcp_repro.paper.published.published_tables import published_table
from gcp_repro.paper.store.settings import Setting, Variant, cell_anchor
from gcp_repro.paper.store.statistics import summarise
from gcp_repro.paper.tables.table import MISSING, Cell, Column, Table, label, number_text, scientific

__all__ = [
    "BETA",
    "CONDITION",
    "CONDITION_RANGE",
    "CONDITION_RANK",
    "condition_table",
    "diagnostics_columns",
    "diagnostics_table",
    "metric_name",
]

CONDITION = "diagnostics/condition_number"
CONDITION_RANK = "diagnostics/condition_number_rank"
CONDITION_RANGE = "diagnostics/condition_number_range"
BETA = "diagnostics/beta_smoothness"
STAGES = {1: 1, 2: 11, 3: 21}
"""Stages of the schedule and the epochs of the paper's Table 1, counted from 1, with which they begin."""
PHRASES = {
    "_": " ", "top1": "top-1", "top5": "top-5", "number rank": "number of the range",
    "number range": "number, numerical range", "time share": "time (%)",
    "overflow share": "share of overflow in K", "largest quotient": "largest |K|", "eigenvalue ratio": "ratio l_1 / l_2",
}  # fmt: skip
SPLITS = {"val": "validation", "train": "training", "test": "test"}


def diagnostics_columns(setting: Setting) -> list[str]:
    """Every column `diagnostics/*` that holds a number."""
    names = [str(name) for name in setting.epochs.columns if str(name).startswith("diagnostics/")]
    return [name for name in names if setting.epochs[name].notna().any()]


def diagnostics_table(setting: Setting) -> Table:
    """Every diagnostic at the last epoch, median over seeds, standalone runs."""
    names = diagnostics_columns(setting)
    rows = []
    for variant in setting.trained("standalone"):
        last = setting.history(variant, "standalone").sort_values("epoch").groupby("run").tail(1)
        cells = [_median_cell(last, name, f"#{cell_anchor(setting, variant, 'standalone')}") for name in names]
        rows.append((*variant_cells(variant), *cells))
    return Table(
        f"diagnostics-{setting.key}",
        f"Diagnostics at the last epoch, {setting.title}",
        (*VARIANT_HEADINGS, *(Column(metric_name(name)) for name in names)),
        tuple(rows),
        caption="Median over seeds of the standalone runs; for a run that diverged, its last epoch.",
    )


def _median_cell(frame: pd.DataFrame, column: str, link: str) -> Cell:
    value = float(frame[column].median())
    return MISSING if pd.isna(value) else Cell(scientific(value, 2), value, "measured", link)


def metric_name(column: str) -> str:
    """A column of metrics.csv in words.

    Example:
        >>> metric_name("diagnostics/condition_number"), metric_name("val/top1_error")
        ('condition number', 'validation top-1 error')
    """
    split, _, name = column.rpartition("/")
    words = name
    for written, spoken in PHRASES.items():
        words = words.replace(written, spoken)
    return f"{SPLITS.get(split, '')} {words}".strip()


def condition_table(settings: Sequence[Setting]) -> Table:
    """Table 1: condition number in the first epoch of each stage of the schedule, published and measured."""
    published = published_table("1").rows[0]
    printed = [published[f"epoch_{epoch}"] for epoch in STAGES.values()]
    rows = [
        (
            label("paper: AlexNet, ImageNet"),
            label("MPN-COV"),
            *(Cell(text, number_text(text), "published") for text in printed),
            *(MISSING for _ in STAGES),
        )
    ]
    for setting in settings:
        for variant in setting.trained("standalone"):
            cells = [cell for name in (CONDITION, CONDITION_RANK) for cell in _stage_cells(setting, variant, name)]
            if any(cell is not MISSING for cell in cells):
                rows.append((label(setting.experiment), label(setting.name(variant)), *cells))
    groups = ("l_1 / l_C, eigenvalues floored at EPS", "l_1 / l_r, r the rank")
    return Table(
        "table1",
        "Table 1: condition number by stage of training",
        (Column("setting"), Column("layer"), *(Column(f"stage {stage}", group) for group in groups for stage in STAGES)),
        tuple(rows),
        caption=(
            "Mean over seeds of the average over the first epoch of each stage; a decay of the learning rate ends a stage "
            "(the paper's epochs 1, 11 and 21). The rank of a covariance of N positions in C channels is min(C, N - 1) at most."
        ),
        notes=tuple(note.text for note in published_table("1").footnotes),
    )


def _stage_cells(setting: Setting, variant: Variant, column: str) -> list[Cell]:
    epochs = setting.history(variant, "standalone")
    if column not in epochs or "learning_rate" not in epochs:
        return [MISSING for _ in STAGES]
    first = epochs.sort_values("epoch").drop_duplicates(["run", "learning_rate"])
    stage = first.groupby("run").cumcount() + 1
    link = f"#{cell_anchor(setting, variant, 'standalone')}"
    means = [summarise(first.loc[stage == number, column]).mean for number in STAGES]
    return [MISSING if pd.isna(mean) else Cell(scientific(mean, 3), mean, "measured", link) for mean in means]
