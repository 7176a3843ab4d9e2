"""Runs as two tidy csv files, `runs.csv` and `epochs.csv`: for other programs, and read back in place of the runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

__all__ = ["EPOCHS", "RUNS", "is_store", "read_epochs", "read_runs"]

RUNS = "runs.csv"
EPOCHS = "epochs.csv"


def is_store(folder: Path) -> bool:
    """Whether a folder holds both files."""
    return (folder / RUNS).is_file() and (folder / EPOCHS).is_file()


def read_runs(folder: Path) -> list[dict[str, Any]]:
    """The rows of `runs.csv`: every entry as text, without those that are empty."""
    frame = pd.read_csv(folder / RUNS, dtype=str, keep_default_na=False)
    return [{str(name): value for name, value in row.items() if value != ""} for row in frame.to_dict("records")]


def read_epochs(folder: Path) -> pd.DataFrame:
    """The rows of `epochs.csv`."""
    return pd.read_csv(folder / EPOCHS)
