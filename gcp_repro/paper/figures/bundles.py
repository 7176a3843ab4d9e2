"""Lines that lie on one another, drawn as one."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

__all__ = ["FEWEST", "LEVEL", "level_with_one_another"]

FEWEST = 4
"""Lines that are worth a bundle; fewer are told apart by their colours."""
WIDTH = 0.025
"""Of a line, as a share of what the figure spans."""
DEVIATIONS = 2.0
LEVEL = "within two standard deviations over seeds or a line's width"


def level_with_one_another(curves: Mapping[str, pd.DataFrame], logarithmic: bool) -> list[str]:
    """The curves that never leave the middle one by more than the spread over seeds or a line's width; none if they are few.

    Args:
        curves: Columns mean and std by epoch.
        logarithmic: Whether they are drawn on a logarithmic scale.

    Example:
        >>> flat = {name: pd.DataFrame({"mean": [1.0, 1.0 + shift], "std": 0.0}) for name, shift in zip("abcd", (0, 0.1, 0, 0.1))}
        >>> level_with_one_another({**flat, "e": pd.DataFrame({"mean": [9.0, 3.0], "std": 0.0})}, logarithmic=False)
        ['a', 'b', 'c', 'd']
    """
    if len(curves) < FEWEST:
        return []
    mean, spread = (pd.DataFrame({name: curve[column] for name, curve in curves.items()}) for column in ("mean", "std"))
    if logarithmic:
        mean = mean.where(mean > 0)
        mean, spread = np.log(mean), spread / mean
    span = float(np.nanmax(mean.to_numpy()) - np.nanmin(mean.to_numpy()))
    allowed = np.maximum(WIDTH * span, DEVIATIONS * spread.median(axis=1))
    within = mean.sub(mean.median(axis=1), axis=0).abs().le(allowed, axis=0) | mean.isna()
    level = [name for name in curves if within[name].all()]
    return level if len(level) >= FEWEST else []
