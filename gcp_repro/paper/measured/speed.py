"""Table 5: seconds for one batch in the meta-layer, from the csv files of `gcp-bench layers`, beside the published ones."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from gcp_repro.errors import DataError, MissingPathError
from gcp_repro.paper.layers import layer_order, layer_style
from gcp_repro.paper.published.published_tables import published_table
from gcp_repro.paper.tables.table import MISSING, Cell, Column, Table, label, number_text

__all__ = ["COMMAND", "DEFAULT_PLACES", "read_bench", "speed_table"]

COMMAND = "gcp-bench layers --shapes 128x256x13x13 --device cuda"
"""What fills the table."""
DEFAULT_PLACES = (Path("reports"),)
"""Where files of `gcp-bench layers` are looked for when none are given: not in `results`, whose rows are of other machines."""
PHASES = ("forward", "backward", "total")
ALEXNET = {"channels": 256, "height": 13, "width": 13}
NEEDED = ("origin", "layer", "route", "dtype", "batch", "device", *ALEXNET, *(f"{phase}_median" for phase in PHASES))


def read_bench(places: Iterable[Path] | None = None) -> pd.DataFrame:
    """The rows of csv files of `gcp-bench layers`, one below another; `file` says where each is from.

    Args:
        places: Files, or folders in which files of other kinds are passed over; `None` for those of `DEFAULT_PLACES`
            that exist.

    Raises:
        DataError: A place does not exist, or a file given by name was not written by `gcp-bench layers`.
    """
    found = [place for place in DEFAULT_PLACES if place.is_dir()] if places is None else list(places)
    frames = [frame for place in found for frame in _read(place)]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=list(NEEDED))


def _read(place: Path) -> Iterable[pd.DataFrame]:
    if not place.exists():
        raise MissingPathError(f"measured times are read from files of gcp-bench layers; '{place}' does not exist: run {COMMAND}")
    for path in sorted(place.glob("*.csv")) if place.is_dir() else [place]:
        try:
            frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
        except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
            if path == place:
                raise DataError(f"measured times are read from csv files; '{path}' is none ({error}): run {COMMAND}") from error
            continue
        missing = [name for name in NEEDED if name not in frame]
        if not missing:
            yield frame.assign(file=str(path.resolve()))
        elif path == place:
            raise DataError(
                f"measured times need the columns of gcp-bench layers; '{path}' lacks {', '.join(missing)}: run {COMMAND}"
            )


def speed_table(bench: pd.DataFrame, page: Path) -> Table:
    """Table 5: forward, backward and total, published and measured.

    Args:
        bench: As `read_bench` gives it.
        page: Where the table will be shown; links to the files of `bench` are relative to its folder.
    """
    rows = [*_published_rows(), *_measured_rows(bench, page.resolve().parent)]
    columns = ("layer", "source", "route", "precision", "batch", "device", "rounds", "measured on")
    measured = len(rows) > len(published_table("5").rows)
    return Table(
        "table5",
        "Table 5: seconds for one batch in the meta-layer",
        (*map(Column, columns), *(Column(f"{phase} (s)") for phase in PHASES)),
        tuple(rows),
        caption=(
            "Features of 256 channels at 13x13. Measured: median over so many rounds, in which all layers took turns."
            if measured
            else f"Features of 256 channels at 13x13. Nothing was measured here; to measure: {COMMAND}"
        ),
        notes=(
            "The paper decomposes on the CPU and does the rest on a GPU, and names neither: compare the order of the layers, "
            "not seconds.",
            *(note.text for note in published_table("5").footnotes),
        ),
    )


def _published_rows() -> Iterable[tuple[Cell, ...]]:
    for row in published_table("5").rows:
        times = (Cell(row[phase], number_text(row[phase]), "published") for phase in PHASES)
        yield (label(row["method"]), label("published"), *(label("") for _ in range(6)), *times)


def _measured_rows(bench: pd.DataFrame, base: Path) -> Iterable[tuple[Cell, ...]]:
    rows = bench[bench["origin"].isin(["gcp_repro", "peer"])]
    for column, value in ALEXNET.items():
        rows = rows[pd.to_numeric(rows[column], errors="coerce") == value]
    if "reduced_from" in rows:
        rows = rows[rows["reduced_from"].isna()]
    rows = rows[rows["total_median"].notna()]
    records = rows.astype(object).where(rows.notna(), "").to_dict("records")
    for row in sorted(records, key=_order):
        name = layer_style(str(row["layer"])).published
        source = "measured" if row["origin"] == "gcp_repro" else "measured, DifferentiableSVD"
        words = (f"{row['layer']} ({name})" if name else row["layer"], source, row["route"], row["dtype"])
        batch = Cell(f"{float(row['batch']):.0f}", float(row["batch"]))
        cell = partial(_time_cell, link=Path(os.path.relpath(row["file"], base)).as_posix())
        rounds = Cell(str(row.get("rounds", "")), number_text(str(row.get("rounds", ""))))
        machine = (label(_machine(row)), rounds, label(str(row.get("date", ""))[:10]))
        yield (*map(label, words), batch, *machine, *(cell(row[f"{phase}_median"]) for phase in PHASES))


def _machine(row: dict[Any, Any]) -> str:
    """The device; of a CPU also which, and how many threads worked."""
    threads = f", {row['threads']} threads" if row.get("threads") else ""
    return f"{row['cpu']}{threads}" if row["device"] == "cpu" and row.get("cpu") else str(row["device"])


def _order(row: dict[Any, Any]) -> tuple[object, ...]:
    return (str(row["device"]), row["origin"] == "peer", str(row["dtype"]), str(row["route"]), layer_order(str(row["layer"])))


def _time_cell(value: object, link: str) -> Cell:
    seconds = number_text(str(value))
    return MISSING if seconds is None else Cell(f"{seconds:.3g}", seconds, "measured", link)
