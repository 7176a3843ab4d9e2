"""The list of all runs with their configurations, and the list of what could not be used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from gcp_repro.paper.store.results import Results
from gcp_repro.paper.store.settings import PROTOCOLS, Setting, cell_anchor
from gcp_repro.paper.tables.table import MISSING, Cell, Column, Table, label
from gcp_repro.runs import RunDirectory

__all__ = ["problems_table", "runs_table"]


def runs_table(settings: Sequence[Setting], page: Path) -> Table:
    """Every run with its configuration, seed, versions and time; links are relative to the folder of the page."""
    columns = (
        "layer", "precision", "route", "protocol", "seed", "experiment", "status", "final top-1", "epochs",
        "wall time (s)", "images/s", "device", "torch",
        "gcp_repro", "revision", "config",
    )  # fmt: skip
    rows = []
    for setting in settings:
        for variant in setting.variants:
            for protocol in PROTOCOLS:
                runs = setting.select_all(variant, protocol)
                anchor: str | None = cell_anchor(setting, variant, protocol)
                for run in runs.sort_values("seed").to_dict("records"):
                    rows.append(_run_row(run, anchor, page))
                    anchor = None
    return Table(
        "run_list", "All runs", tuple(Column(name) for name in columns), tuple(rows), caption="Errors of other tables lead here."
    )


def _run_row(run: dict[Any, Any], anchor: str | None, page: Path) -> tuple[Cell, ...]:
    folder = Path(run["run"])
    config = RunDirectory(folder).config
    link = Path(os.path.relpath(config, page.resolve().parent)).as_posix() if config.is_file() else None
    status = str(run["status"]) + ("" if pd.isna(run["message"]) else f": {run['message']}")
    return (
        Cell(str(run["meta_layer"]), anchor=anchor),
        label(run["dtype"]),
        label(run["route"]),
        label(run["protocol"]),
        Cell(str(run["seed"]), float(run["seed"])),
        label(run["experiment"]),
        label(status),
        _number(run["final_top1_error"], "{:.2f}", link),
        _number(run["epochs"], "{:.0f}"),
        _number(run["wall_time_seconds"], "{:.1f}"),
        _number(run["samples_per_second"], "{:,.0f}"),
        *(label("" if pd.isna(run[name]) else run[name]) for name in ("device", "torch", "gcp_repro")),
        label("" if pd.isna(run["git_revision"]) else _short(str(run["git_revision"]))),
        label(folder.name if pd.isna(run["config_hash"]) else run["config_hash"], link),
    )


def _short(revision: str) -> str:
    """Ten digits of a revision, and whether files differed from it.

    Example:
        >>> _short("75869cbef1b7ee80d9772a669d944aea7e6901e1-dirty")
        '75869cbef1-dirty'
    """
    commit, _, dirty = revision.partition("-")
    return commit[:10] + ("-dirty" if dirty else "")


def _number(value: Any, form: str, link: str | None = None) -> Cell:
    return MISSING if pd.isna(value) else Cell(form.format(value), float(value), "measured", link)


def problems_table(results: Results, page: Path) -> Table:
    """What was found and is not in the tables, with reasons."""
    base = page.resolve().parent
    rows = tuple(
        (label(problem.kind), label(Path(os.path.relpath(problem.path, base)).as_posix()), label(problem.reason))
        for problem in results.problems
    )
    return Table("problems", "Folders that are not in the tables", tuple(map(Column, ("kind", "path", "reason"))), rows)
