"""Figures 1, 2, 4 and 5 of the paper from the runs of a setting, and a figure for every further diagnostic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gcp_repro.paper.figures.plots import DASH_WORDS, Figure, band_and_line, mark_swaps, spans_decades, style
from gcp_repro.paper.layers import REFERENCE_LAYER
from gcp_repro.paper.measured.diagnostics import diagnostics_columns, metric_name
from gcp_repro.paper.store.settings import Setting, Variant

__all__ = ["PAPER_FIGURES", "Curves", "curve_figures"]

BETA = "diagnostics/beta_smoothness"
HYBRID_DIAGNOSTICS = ("diagnostics/condition_number", BETA, "diagnostics/gradient_error")
HIDDEN = ("time_share",)
"""Diagnostics whose names end so are bookkeeping, not curves."""
WINDOW = 3
"""Epochs of the moving average of Figure 5."""


def _double(variant: Variant) -> bool:
    return variant.dtype != "float32"


def _two_methods(variant: Variant) -> bool:
    return variant.meta_layer in (REFERENCE_LAYER, "mpn_cov") and not variant.options


def _all(variant: Variant) -> bool:
    return True


@dataclass(frozen=True)
class Curves:
    """A figure to draw: one column of metrics.csv by epoch.

    Attributes:
        number: Of the figure in the paper, with its side; empty for further ones.
        column: Of metrics.csv.
        protocol: "standalone" or "hybrid".
        drawn: Which variants.
        last_stage: Only from one epoch before the last decay or the swap on.
        window: Epochs of a centred moving average; 1 for none.
    """

    number: str
    column: str
    protocol: str = "standalone"
    drawn: Callable[[Variant], bool] = _all
    last_stage: bool = False
    window: int = 1


PAPER_FIGURES = (
    Curves("1 left", "train/top5_error", drawn=_double),
    Curves("1 right", "val/top1_error", drawn=_double, last_stage=True),
    Curves("2 left", "train/top1_error", drawn=_two_methods),
    Curves("2 right", BETA, drawn=_two_methods),
    Curves("4 left", "train/top1_error", drawn=_double),
    Curves("4 right", BETA, drawn=_double),
    Curves("5 left", "val/top1_error", "hybrid", _double, last_stage=True, window=WINDOW),
    Curves("5 right", "val/top5_error", "hybrid", _double, last_stage=True, window=WINDOW),
)


def curve_figures(setting: Setting) -> list[Figure]:
    """The paper's figures first, then validation error over all epochs and every further diagnostic."""
    specs = (*PAPER_FIGURES, *_further(setting))
    return [figure for spec in specs if (figure := _figure(setting, spec)) is not None]


def _further(setting: Setting) -> Iterable[Curves]:
    for protocol in ("standalone", "hybrid"):
        yield Curves("", "val/top1_error", protocol)
    for name in diagnostics_columns(setting):
        if not name.endswith(HIDDEN) and name != BETA:
            yield Curves("", name)
        if name in HYBRID_DIAGNOSTICS:
            yield Curves("", name, "hybrid")


def last_stage(setting: Setting) -> int:
    """One epoch before the last decay or the first swap, whichever is earlier; 0 where the schedule does not decay."""
    if "learning_rate" not in setting.epochs or not len(setting.epochs):
        return 0
    rates = setting.epochs.groupby("epoch")["learning_rate"].median()
    decays = rates.index[rates.diff() < 0]
    starts = [int(epoch) for epoch in (*decays[-1:], *setting.runs["swap_epoch"].dropna())]
    return max(0, min(starts) - 1) if len(decays) else 0


def _figure(setting: Setting, spec: Curves) -> Figure | None:
    first = last_stage(setting) if spec.last_stage else 0
    if spec.column not in setting.epochs or (spec.last_stage and first == 0):
        return None
    plot = _plot(setting, spec, first)
    if plot is None:
        return None
    name = metric_name(spec.column) + (", last stage" if first else "")
    heading = f"Figure {spec.number}: {name}" if spec.number else f"{name[:1].upper()}{name[1:]}"
    key = "-".join((setting.key, spec.number.replace(" ", ""), spec.column.replace("/", "-"), spec.protocol))
    return Figure(key, f"{heading}, {spec.protocol} ({setting.experiment})", _caption(spec), plot)


def _caption(spec: Curves) -> str:
    text = f"Mean over seeds, band of one standard deviation; {DASH_WORDS}"
    if spec.window > 1:
        text += f" Smoothed by a moving average over {spec.window} epochs, as the paper's curves are."
    if spec.protocol == "hybrid":
        text += " Vertical line: the swap from Newton-Schulz to the layer named."
    return text


def _plot(setting: Setting, spec: Curves, first: int) -> go.Figure | None:
    plot = go.Figure()
    logarithmic = spans_decades(setting.epochs.loc[setting.epochs["epoch"] >= first, spec.column])
    for variant, trained_as in _drawn(setting, spec):
        curve = _mean_and_spread(setting.history(variant, trained_as), spec)
        curve = curve[curve.index >= first]
        if len(curve):
            floor = curve["mean"] * 0.1 if logarithmic else -np.inf
            low = (curve["mean"] - curve["std"]).clip(lower=floor)
            plot.add_traces(band_and_line(setting, variant, curve.index, curve["mean"], low, curve["mean"] + curve["std"]))
    if not plot.data:
        return None
    mark_swaps(plot, sorted(setting.runs.loc[setting.runs["protocol"] == spec.protocol, "swap_epoch"].dropna().unique()))
    percent = " (%)" if "/top" in spec.column or spec.column.endswith("share") else ""
    style(plot, "epoch", metric_name(spec.column) + percent)
    plot.update_xaxes(tick0=0, dtick=max(1, math.ceil((setting.num_epochs - first) / 8)))
    if logarithmic:
        plot.update_yaxes(type="log")
    return plot


def _mean_and_spread(epochs: pd.DataFrame, spec: Curves) -> pd.DataFrame:
    curve = epochs.groupby("epoch")[spec.column].agg(["mean", "std"]).dropna(subset=["mean"]).fillna(0.0)
    return curve.rolling(spec.window, center=True, min_periods=1).mean() if spec.window > 1 else curve


def _drawn(setting: Setting, spec: Curves) -> list[tuple[Variant, str]]:
    """Variants of a figure and the protocol of their runs; among hybrid ones the standalone reference too, as in Figure 5."""
    drawn = [(variant, spec.protocol) for variant in setting.trained(spec.protocol) if spec.drawn(variant)]
    reference = setting.reference
    if spec.protocol == "hybrid" and drawn and reference is not None and (reference, "hybrid") not in drawn:
        drawn.insert(0, (reference, "standalone"))
    return drawn
