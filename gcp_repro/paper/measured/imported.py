"""Weights of other code, imported by `gcp-import` and scored by `gcp-eval`, beside what the paper prints for their layer."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gcp_repro.paper.layers import layer_style
from gcp_repro.paper.measured.counterparts import COUNTERPARTS
from gcp_repro.paper.store.results import Results
from gcp_repro.paper.store.settings import PROTOCOLS, Variant
from gcp_repro.paper.tables.table import MISSING, Cell, Column, Table, label
from gcp_repro.runs import RunDirectory

__all__ = ["imported_table"]


def imported_table(results: Results, page: Path) -> Table:
    """Every scored import: file, network, data and errors; links to configurations are relative to the folder of the page."""
    columns = ("weights", "network", "layer", "data", "epochs")
    errors = ("its own record", "top-1 error", "top-5 error")
    rows = [_row(run, page.resolve().parent) for run in results.imported.to_dict("records")]
    published = tuple(Column(protocol, "published top-1 error") for protocol in PROTOCOLS)
    return Table(
        "imported",
        "Published weights, scored here",
        (*map(Column, columns), *map(Column, errors), *published),
        tuple(rows),
        caption=(
            "Validation error in percent of checkpoints that gcp-import converted, by gcp-eval. Its own record: the best top-1 "
            "error that the file states. Published: the entry of the paper for that layer, network and data; files do not say "
            "which protocol they were trained with. Table 4 prints the fine-grained sets as accuracies."
        ),
    )


def _row(run: Mapping[Any, Any], base: Path) -> tuple[Cell, ...]:
    config = RunDirectory(run["run"]).config
    link = Path(os.path.relpath(config, base)).as_posix() if config.is_file() else None
    layer = run["imported_meta_layer"]
    accuracy = pd.to_numeric(run.get("imported_best_top1_accuracy"), errors="coerce")
    record = MISSING if pd.isna(accuracy) else Cell(f"{100 - accuracy:.2f}", 100 - accuracy)
    epochs = MISSING if pd.isna(run["epochs"]) else Cell(f"{run['epochs']:.0f}", run["epochs"])
    return (
        label(run["imported_file"], link),
        label(run["imported_architecture"]),
        label(f"{layer} ({layer_style(layer).published})" if layer_style(layer).published else layer),
        label(run["data"]),
        epochs,
        record,
        *(_measured(run[f"final_top{k}_error"], link) for k in (1, 5)),
        *(_published(run, protocol) for protocol in PROTOCOLS),
    )


def _measured(error: float, link: str | None) -> Cell:
    return MISSING if pd.isna(error) else Cell(f"{error:.2f}", error, "measured", link)


def _published(run: Mapping[Any, Any], protocol: str) -> Cell:
    beside = COUNTERPARTS.get(f"{str(run['imported_architecture']).removeprefix('mpncov')}_{run['data']}")
    if beside is None:
        return MISSING
    cell = beside.cell(Variant(run["imported_meta_layer"], "float64", "dense"), protocol, "final_top1_error")
    if cell.value is None:
        return cell
    error = 100 - cell.value if beside.accuracy else cell.value
    return Cell(f"{error:.2f}", error, "published")
