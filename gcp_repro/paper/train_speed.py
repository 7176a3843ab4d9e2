"""Images a second that `gcp-bench train` has measured on this user's machines: what the plan's hours are made of without runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

__all__ = ["STEP_FILES", "read_train_speeds"]

NEEDED = ["experiment", "meta_layer", "precision", "images_per_second", "device"]
STEP_FILES = (Path("reports"),)
"""Where `gcp-bench train` writes by default."""


def read_train_speeds(places: Iterable[Path] | None = None) -> pd.DataFrame:
    """The rows of csv files of `gcp-bench train`; files of other kinds are passed over.

    Args:
        places: Files or folders; None for those of `STEP_FILES`. What does not exist holds nothing.

    Returns:
        Columns experiment, meta_layer, precision (of the trainer), images_per_second and device.
    """
    frames = [pd.DataFrame(columns=NEEDED)]
    for place in STEP_FILES if places is None else places:
        for path in sorted(place.glob("*.csv")) if place.is_dir() else [place]:
            try:
                frame = pd.read_csv(path, keep_default_na=False, na_values=[""])
            except (OSError, ValueError):  # pandas' parser errors are ValueErrors
                continue
            if {*NEEDED, "tiny"} <= set(frame):
                real = ~frame["tiny"].astype(str).isin(["True"])  # generated images say nothing about reading the real ones
                frames.append(frame.loc[real, NEEDED])
    return pd.concat(frames[1:], ignore_index=True) if frames[1:] else frames[0]
