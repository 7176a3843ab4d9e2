"""Figures of the report, as plotly figures without colours for text and grid: the page sets those for light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import torch

from gcp_repro.linalg.gradient_rules import DIFFERENCE_QUOTIENTS
from gcp_repro.paper.diagnostics import diagnostics_columns, metric_name
from gcp_repro.paper.layers import layer_style
from gcp_repro.paper.settings import PROTOCOLS, Setting, Variant
from gcp_repro.paper.tables import scientific

__all__ = ["Figure", "curve_figures", "quotient_figures"]

ERROR_COLUMNS = ("val/top1_error", "train/top1_error")
HIDDEN = ("time_share",)
"""Diagnostics whose names end so are bookkeeping, not curves."""
DASHES = {"float32": "dot"}
HEIGHT = 400
RULE_LAYERS = {"svd": "mpn_cov", "trunc": "svd_trunc", "taylor": "svd_taylor", "pade": "svd_pade"}


@dataclass(frozen=True)
class Figure:
    """A figure with its caption.

    Attributes:
        key: Unique name.
        title: Heading.
        caption: What is drawn.
        plot: The plotly figure.
    """

    key: str
    title: str
    caption: str
    plot: go.Figure

    @property
    def json(self) -> str:
        """Data and layout as JSON that may stand inside a script element."""
        return str(self.plot.to_json()).replace("<", "\\u003c")


def curve_figures(setting: Setting, columns: Sequence[str] = ERROR_COLUMNS, diagnostics: bool = True) -> list[Figure]:
    """One figure for each column of metrics.csv and protocol: mean over seeds with a band of one standard deviation.

    Args:
        setting: Its runs are drawn.
        columns: Columns to draw; absent ones are skipped.
        diagnostics: Draw every column `diagnostics/*` too.
    """
    names = [name for name in columns if name in setting.epochs]
    if diagnostics:
        names += [name for name in diagnostics_columns(setting) if not name.endswith(HIDDEN)]
    drawn = [(name, 0) for name in names]
    last_stage = _last_stage(setting)
    if ERROR_COLUMNS[0] in names and last_stage:
        drawn.insert(1, (ERROR_COLUMNS[0], last_stage))
    figures = []
    for name, first_epoch in drawn:
        for protocol in PROTOCOLS:
            plot = _curves(setting, name, protocol, first_epoch)
            if plot is not None:
                figures.append(_curve_figure(setting, name, protocol, first_epoch, plot))
    return figures


def _last_stage(setting: Setting) -> int:
    """One epoch before the last decay or the first swap, whichever is earlier; 0 where the schedule does not decay."""
    if "learning_rate" not in setting.epochs or not len(setting.epochs):
        return 0
    rates = setting.epochs.groupby("epoch")["learning_rate"].median()
    decays = rates.index[rates.diff() < 0]
    starts = [int(epoch) for epoch in (*decays[-1:], *setting.runs["swap_epoch"].dropna())]
    return max(0, min(starts) - 1) if len(decays) else 0


def _curve_figure(setting: Setting, column: str, protocol: str, first_epoch: int, plot: go.Figure) -> Figure:
    caption = "Mean over seeds, band of one standard deviation; dotted: float32."
    if protocol == "hybrid":
        caption += " Vertical line: the swap from Newton-Schulz to the layer named."
    name = metric_name(column) + (", last stage" if first_epoch else "")
    return Figure(
        f"{setting.key}-{column.replace('/', '-')}-{protocol}-{first_epoch}",
        f"{name[:1].upper()}{name[1:]}, {protocol} ({setting.experiment})",
        caption,
        plot,
    )


def _curves(setting: Setting, column: str, protocol: str, first_epoch: int) -> go.Figure | None:
    plot = go.Figure()
    logarithmic = _spans_decades(setting.epochs[column])
    for variant, trained_as in _drawn(setting, protocol):
        epochs = setting.history(variant, trained_as)
        epochs = epochs[epochs["epoch"] >= first_epoch]
        by_epoch = epochs.groupby("epoch")[column].agg(["mean", "std", "count"]).dropna(subset=["mean"])
        if len(by_epoch):
            plot.add_traces(_band_and_line(setting.name(variant), variant, by_epoch, logarithmic))
    if not plot.data:
        return None
    for swap in sorted(setting.runs.loc[setting.runs["protocol"] == protocol, "swap_epoch"].dropna().unique()):
        plot.add_vline(
            x=float(swap) - 0.5,
            line={"dash": "dash", "width": 1, "color": "#888"},
            annotation_text="swap",
            annotation_position="bottom right",
            annotation_font_size=11,
        )
    _style(plot, "epoch", metric_name(column) + (" (%)" if column.endswith("error") and "/top" in column else ""))
    plot.update_xaxes(tick0=0, dtick=max(1, math.ceil((setting.num_epochs - first_epoch) / 8)))
    if logarithmic:
        plot.update_yaxes(type="log")
    return plot


def _drawn(setting: Setting, protocol: str) -> list[tuple[Variant, str]]:
    """Variants of a figure and the protocol of their runs; among hybrid ones the standalone reference too, as in Figure 5."""
    drawn = [(variant, protocol) for variant in setting.trained(protocol)]
    reference = setting.reference
    if protocol == "hybrid" and drawn and reference is not None and (reference, protocol) not in drawn:
        drawn.insert(0, (reference, "standalone"))
    return drawn


def _band_and_line(name: str, variant: Variant, by_epoch: pd.DataFrame, logarithmic: bool) -> list[go.Scatter]:
    style = layer_style(variant.meta_layer)
    group = f"{name} {variant.route} {variant.options}"
    x = by_epoch.index.tolist()
    mean, spread = by_epoch["mean"].to_numpy(), by_epoch["std"].fillna(0.0).to_numpy()
    floor = mean * 0.1 if logarithmic else -np.inf
    low, high = np.maximum(mean - spread, floor), mean + spread
    band = go.Scatter(
        x=[*x, *x[::-1]], y=_rounded([*high, *low[::-1]]), fill="toself", fillcolor=_transparent(style.colour),
        line={"width": 0}, mode="lines",
        legendgroup=group, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    line = go.Scatter(
        x=x, y=_rounded(mean), mode="lines",
        line={"color": style.colour, "width": 1.8, "dash": DASHES.get(variant.dtype, "solid")},
        name=name, legendgroup=group, customdata=_rounded(spread),
        hovertemplate="%{y:.4g} ± %{customdata:.2g}<extra>" + name + "</extra>",
    )  # fmt: skip
    return [band, line] if spread.any() else [line]


def _rounded(values: Any) -> list[float]:
    """Six digits are more than a screen shows and keep the page small."""
    return [float(f"{value:.6g}") for value in values]


def _spans_decades(values: pd.Series) -> bool:
    numbers = values.dropna()
    return bool(len(numbers)) and bool(numbers.min() > 0) and bool(numbers.max() > 30 * numbers.min())


def _transparent(colour: str, alpha: float = 0.09) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def _style(plot: go.Figure, x: str, y: str) -> None:
    plot.update_layout(
        template="none",
        height=HEIGHT,
        margin={"l": 62, "r": 12, "t": 30, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "inherit", "size": 12},
        legend={"orientation": "h", "yanchor": "top", "y": -0.18, "x": 0, "font": {"size": 11}},
        hovermode="closest",
    )
    plot.update_xaxes(title_text=x, zeroline=False, title_standoff=8)
    plot.update_yaxes(title_text=y, zeroline=False, title_standoff=8, automargin=True, exponentformat="power")


def quotient_figures(larger: float = 1.0) -> list[Figure]:
    """The rules near equal eigenvalues: `k(l_i, l_j)` and the entry `(f_i - f_j) k` of the gradient table of the root.

    Args:
        larger: `l_i`.
    """
    gap = np.concatenate([np.arange(1, 9) * 2.0**-53, np.logspace(-15, -0.001, 241)])
    upper = torch.full((len(gap),), larger, dtype=torch.float64)
    lower = upper * torch.from_numpy(1 - gap)
    quotients = {name: rule(upper, lower) for name, rule in DIFFERENCE_QUOTIENTS.items()}
    difference = upper.sqrt() - lower.sqrt()
    entries = {name: difference * k for name, k in quotients.items()}
    entries["exact"] = 1 / (upper.sqrt() + lower.sqrt())
    at = f"l_i = {scientific(larger)}, evaluated in float64; horizontal: 1 - l_j/l_i."
    return [
        Figure(
            "quotients",
            "k of the SVD rules near equal eigenvalues",
            f"What stands for 1/(l_i - l_j); {at}",
            _rules(gap, quotients, "k(l_i, l_j)"),
        ),
        Figure(
            "entries",
            "What reaches the gradient: (sqrt(l_i) - sqrt(l_j)) k",
            f"Entry D_ij of the root's gradient table; exact: 1/(sqrt(l_i) + sqrt(l_j)), the table of svd_lyapunov; {at}",
            _rules(gap, entries, "D(l_i, l_j)"),
        ),
    ]


def _rules(gap: Any, curves: dict[str, torch.Tensor], y: str) -> go.Figure:
    plot = go.Figure()
    for name, values in curves.items():
        magnitude = values.abs().numpy()
        drawn = [float(f"{value:.6g}") if 0 < value < np.inf else None for value in magnitude]
        style = layer_style(RULE_LAYERS.get(name, "svd_lyapunov"))
        plot.add_trace(
            go.Scatter(
                x=_rounded(gap), y=drawn, mode="lines", name=name,
                line={"color": style.colour, "width": 1.8, "dash": "dash" if name == "exact" else "solid"},
                hovertemplate="gap %{x:.2g}: %{y:.4g}<extra>" + name + "</extra>",
            )
        )  # fmt: skip
    _style(plot, "1 - l_j/l_i", y)
    plot.update_xaxes(type="log", exponentformat="power", dtick=3)
    plot.update_yaxes(type="log")
    return plot
