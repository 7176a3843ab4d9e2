"""What the diagnostics callbacks logged: the form of Table 1, and every column `diagnostics/*` at the last epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from gcp_repro.paper.measured import variant_cells
from gcp_repro.paper.published_tables import published_table
from gcp_repro.paper.settings import Setting, Variant, cell_anchor
from gcp_repro.paper.statistics import summarise
from gcp_repro.paper.tables import MISSING, Cell, Column, Table, label, number_text, scientific

__all__ = ["condition_table", "diagnostics_columns", "diagnostics_table", "metric_name"]

CONDITION = "diagnostics/condition_number"
SPLITS = {"val": "validation", "train": "training", "test": "test"}


def diagnostics_columns(setting: Setting) -> list[str]:
    """Every column `diagnostics/*` that holds a number."""
    names = [str(name) for name in setting.epochs.columns if str(name).startswith("diagnostics/")]
    return [name for name in names if pd.to_numeric(setting.epochs[name], errors="coerce").notna().any()]


def diagnostics_table(setting: Setting) -> Table:
    """Every diagnostic at the last epoch, median over seeds, standalone runs."""
    names = diagnostics_columns(setting)
    rows = []
    for variant in setting.trained("standalone"):
        last = setting.history(variant, "standalone").sort_values("epoch").groupby("run").tail(1)
        cells = [_median_cell(last, name, f"#{cell_anchor(setting, variant, 'standalone')}") for name in names]
        rows.append((*variant_cells(setting, variant), *cells))
    return Table(
        f"diagnostics-{setting.key}",
        f"Diagnostics at the last epoch, {setting.title}",
        (Column("layer"), Column("precision"), *(Column(metric_name(name)) for name in names)),
        tuple(rows),
        caption="Median over seeds of the standalone runs; for a run that diverged, its last epoch.",
    )


def _median_cell(frame: pd.DataFrame, column: str, link: str) -> Cell:
    value = float(pd.to_numeric(frame[column], errors="coerce").median())
    return MISSING if pd.isna(value) else Cell(scientific(value, 2), value, "measured", link)


def metric_name(column: str) -> str:
    """A column of metrics.csv in words.

    Example:
        >>> metric_name("diagnostics/condition_number"), metric_name("val/top1_error")
        ('condition number', 'validation top-1 error')
    """
    split, _, name = column.rpartition("/")
    words = name.replace("top1", "top-1").replace("top5", "top-5").replace("_", " ")
    return f"{SPLITS.get(split, '')} {words}".strip()


def condition_table(settings: Sequence[Setting]) -> Table:
    """Table 1: condition number in the first epoch of each stage of the schedule, published and measured."""
    published = published_table("1").rows[0]
    rows = [
        (label("paper: AlexNet, ImageNet"), label("MPN-COV"), *(_published_condition(published, epoch) for epoch in (1, 11, 21)))
    ]
    for setting in settings:
        if CONDITION not in diagnostics_columns(setting):
            continue
        for variant in setting.trained("standalone"):
            cells = _stage_cells(setting, variant)
            if cells:
                rows.append((label(setting.experiment), label(" ".join((variant.meta_layer, variant.dtype)).strip()), *cells))
    return Table(
        "table1",
        "Table 1: condition number by stage of training",
        (Column("setting"), Column("layer"), *(Column(f"first epoch of stage {stage}") for stage in (1, 2, 3))),
        tuple(rows),
        caption="Mean over seeds of the epoch's average; a decay ends a stage (the paper's epochs 1, 11, 21).",
        notes=tuple(note.text for note in published_table("1").footnotes),
    )


def _published_condition(row: Mapping[str, str], epoch: int) -> Cell:
    text = row[f"epoch_{epoch}"]
    return Cell(text, number_text(text), "published")


def _stage_cells(setting: Setting, variant: Variant) -> list[Cell]:
    epochs = setting.history(variant, "standalone")
    if "learning_rate" not in epochs or epochs[CONDITION].isna().all():
        return []
    first = epochs.sort_values("epoch").drop_duplicates(["run", "learning_rate"])
    stage = first.groupby("run").cumcount()
    link = f"#{cell_anchor(setting, variant, 'standalone')}"
    means = [summarise(first.loc[stage == index, CONDITION]).mean for index in range(3)]
    return [MISSING if pd.isna(mean) else Cell(scientific(mean, 3), mean, "measured", link) for mean in means]
