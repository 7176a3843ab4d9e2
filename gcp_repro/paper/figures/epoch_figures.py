"""Figures 1, 2, 4 and 5 of the paper from the runs of a setting, and a figure for every further diagnostic."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gcp_repro.paper.figures.bundles import LEVEL, level_with_one_another
from gcp_repro.paper.figures.plots import (
    DASH_WORDS,
    Figure,
    band_and_line,
    bundle_traces,
    mark_swaps,
    range_of,
    spans_decades,
    style,
)
from gcp_repro.paper.layers import REFERENCE_LAYER
from gcp_repro.paper.measured.diagnostics import BETA, diagnostics_columns, metric_name
from gcp_repro.paper.store.settings import PROTOCOLS, Setting, Variant

__all__ = ["PAPER_FIGURES", "Curves", "curve_figure", "curve_figures", "with_covariance"]

HYBRID_DIAGNOSTICS = ("diagnostics/condition_number", BETA, "diagnostics/gradient_error")
HIDDEN = ("time_share",)
"""Diagnostics whose names end so are bookkeeping, not curves."""
BOTH = "both"
WINDOW = 3
"""Epochs of the moving average of Figure 5."""


def _double(variant: Variant) -> bool:
    return variant.dtype != "float32"


def _two_methods(variant: Variant) -> bool:
    return variant.meta_layer in (REFERENCE_LAYER, "mpn_cov") and not variant.options


def _all(variant: Variant) -> bool:
    return True


def with_covariance(variant: Variant) -> bool:
    """Whether the layer is more than average pooling."""
    return variant.meta_layer != "gap"


@dataclass(frozen=True)
class Curves:
    """A figure to draw: one column of metrics.csv by epoch.

    Attributes:
        number: Of the figure in the paper, with its side; empty for further ones.
        column: Of metrics.csv.
        protocol: "standalone", "hybrid" or "both".
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


@dataclass(frozen=True)
class Curve:
    """A line of a figure.

    Attributes:
        variant: Its layer.
        protocol: Of its runs.
        values: By epoch, columns mean and std.
        finished: Whether it is of runs that ended well; else of runs that diverged.
        seeds: How many runs.
    """

    variant: Variant
    protocol: str
    values: pd.DataFrame
    finished: bool
    seeds: int


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
    return [figure for spec in specs if (figure := curve_figure(setting, spec)) is not None]


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


def curve_figure(setting: Setting, spec: Curves, key: str = "") -> Figure | None:
    """A figure by epoch; `None` where there is no line to see: no such column, a single epoch, one value throughout.

    Args:
        setting: Whose runs.
        spec: What to draw.
        key: Put before the figure's own key, for one that the page has twice.
    """
    first = last_stage(setting) if spec.last_stage else 0
    if spec.column not in setting.epochs or (spec.last_stage and first == 0):
        return None
    curves = _curves(setting, spec, first)
    values = pd.concat([curve.values["mean"] for curve in curves]) if curves else pd.Series(dtype=float)
    if values.index.nunique() < 2 or values.nunique() < 2:
        return None
    logarithmic = spans_decades(values)
    keyed = {f"{setting.name(curve.variant)} ({curve.protocol})": curve for curve in curves}
    level = level_with_one_another({name: curve.values for name, curve in keyed.items()}, logarithmic)
    plot = _plot(setting, spec, keyed, set(level), logarithmic)
    plot.update_xaxes(tick0=0, dtick=max(1, math.ceil((setting.num_epochs - first) / 8)))
    name = metric_name(spec.column) + (", last stage" if first else "")
    heading = f"Figure {spec.number}: {name}" if spec.number else f"{name[:1].upper()}{name[1:]}"
    own_key = "-".join((setting.key, spec.number.replace(" ", ""), spec.column.replace("/", "-"), spec.protocol))
    protocol = "standalone and hybrid" if spec.protocol == BOTH else spec.protocol
    return Figure(
        key + own_key, f"{heading}, {protocol} ({setting.experiment})", _caption(spec, curves), plot, _notes(spec, level)
    )


def _caption(spec: Curves, curves: list[Curve]) -> str:
    seeds = max(curve.seeds for curve in curves)
    text = f"Mean over seeds, band of one standard deviation; {DASH_WORDS}" if seeds > 1 else f"One run a line; {DASH_WORDS}"
    if spec.window > 1:
        text += f" Smoothed by a moving average over {spec.window} epochs, as the paper's curves are."
    if spec.protocol != "standalone":
        text += " Vertical line: the swap from Newton-Schulz to the layer named."
    if not all(curve.finished for curve in curves) and any(curve.finished for curve in curves):
        text += " Runs that diverged do not set the scale."
    return text


def _notes(spec: Curves, level: Iterable[str]) -> tuple[str, ...]:
    names = [name if spec.protocol == BOTH else name.rpartition(" (")[0] for name in level]
    return (f"Level with one another ({LEVEL}), drawn as one: {', '.join(names)}.",) if names else ()


def _plot(setting: Setting, spec: Curves, curves: Mapping[str, Curve], level: set[str], logarithmic: bool) -> go.Figure:
    plot = go.Figure()
    if level:
        plot.add_traces(bundle_traces([curves[name].values["mean"] for name in curves if name in level]))
    for name, curve in curves.items():
        if name not in level:
            mean, spread = curve.values["mean"], curve.values["std"]
            low = (mean - spread).clip(lower=mean * 0.1 if logarithmic else -np.inf)
            label = f"{setting.name(curve.variant)} {curve.protocol}" if spec.protocol == BOTH else ""
            plot.add_traces(
                band_and_line(
                    setting,
                    curve.variant,
                    mean.index,
                    mean,
                    low,
                    mean + spread,
                    label,
                    bool(label) and curve.protocol == "hybrid",
                )
            )
    if spec.protocol != "standalone":
        mark_swaps(plot, sorted(setting.runs.loc[setting.runs["protocol"] == "hybrid", "swap_epoch"].dropna().unique()))
    percent = " (%)" if "/top" in spec.column or spec.column.endswith("share") else ""
    style(plot, "epoch", metric_name(spec.column) + percent)
    finished = [curve.values for curve in curves.values() if curve.finished]
    if finished and len(finished) < len(curves):
        plot.update_yaxes(range=range_of(pd.concat(finished), logarithmic))
    if logarithmic:
        plot.update_yaxes(type="log")
    return plot


def _curves(setting: Setting, spec: Curves, first: int) -> list[Curve]:
    """The lines of a figure: of finished runs, and of those that diverged where a layer has no others."""
    found = []
    for variant, protocol in _drawn(setting, spec):
        runs = setting.select(variant, protocol)
        finished = runs[runs["status"] == "finished"]
        chosen = finished if len(finished) else runs
        values = _mean_and_spread(setting.epochs[setting.epochs["run"].isin(chosen["run"])], spec)
        values = values[values.index >= first]
        if len(values):
            found.append(Curve(variant, protocol, values, bool(len(finished)), len(chosen)))
    return found


def _mean_and_spread(epochs: pd.DataFrame, spec: Curves) -> pd.DataFrame:
    curve = epochs.groupby("epoch")[spec.column].agg(["mean", "std"]).dropna(subset=["mean"]).fillna(0.0)
    return curve.rolling(spec.window, center=True, min_periods=1).mean() if spec.window > 1 else curve


def _drawn(setting: Setting, spec: Curves) -> list[tuple[Variant, str]]:
    """Variants of a figure and the protocol of their runs; among hybrid ones the standalone reference too, as in Figure 5."""
    protocols = PROTOCOLS if spec.protocol == BOTH else (spec.protocol,)
    drawn = [(variant, protocol) for protocol in protocols for variant in setting.trained(protocol) if spec.drawn(variant)]
    reference = setting.reference
    if spec.protocol == "hybrid" and drawn and reference is not None and (reference, "hybrid") not in drawn:
        drawn.insert(0, (reference, "standalone"))
    return drawn
