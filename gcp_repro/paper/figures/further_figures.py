"""Figures that are not about epochs: Figure 3 (first steps), seeds (appendix G), and the gradient rules near equality."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
import torch

from gcp_repro.linalg import DIFFERENCE_QUOTIENTS
from gcp_repro.metalayers import META_LAYERS
from gcp_repro.paper.figures.plots import DASH_WORDS, Figure, band_and_line, dash, rounded, spans_decades, style
from gcp_repro.paper.layers import REFERENCE_LAYER, layer_style
from gcp_repro.paper.measured.seeds import MIN_SEEDS, spread_by_epoch
from gcp_repro.paper.store.settings import Setting
from gcp_repro.paper.tables.table import scientific

__all__ = ["eigenvalue_ratio_figures", "quotient_figures", "seed_figures"]


def eigenvalue_ratio_figures(settings: Sequence[Setting]) -> list[Figure]:
    """Figure 3: l_1 / l_2 over the first steps, for the settings whose runs recorded it."""
    figures = []
    for setting in settings:
        plot = go.Figure()
        for variant in setting.trained("standalone"):
            runs = setting.select(variant, "standalone")["run"]
            if variant.meta_layer in (REFERENCE_LAYER, "mpn_cov") and variant.dtype != "float32" and len(setting.steps):
                steps = setting.steps[setting.steps["run"].isin(runs)].dropna()
                curve = steps.groupby("step")[["mean", "smallest", "largest"]].mean()
                if len(curve):
                    plot.add_traces(
                        band_and_line(setting, variant, curve.index, curve["mean"], curve["smallest"], curve["largest"])
                    )
        if plot.data:
            style(plot, "step", "l_1 / l_2")
            if spans_decades(setting.steps["largest"]):
                plot.update_yaxes(type="log")
            caption = f"Mean over images and seeds; band: the smallest and the largest of the images looked at; {DASH_WORDS}"
            title = f"Figure 3: ratio of the first two eigenvalues over the first steps ({setting.experiment})"
            figures.append(Figure(f"{setting.key}-eigenvalue-ratio", title, caption, plot))
    return figures


def seed_figures(settings: Sequence[Setting]) -> list[Figure]:
    """Appendix G: standard deviation over seeds by epoch."""
    figures = []
    for setting in settings:
        plot = go.Figure()
        for variant in setting.trained("standalone"):
            spread = spread_by_epoch(setting, variant)
            if len(spread):
                colour, name = layer_style(variant.meta_layer).colour, setting.name(variant)
                plot.add_trace(
                    go.Scatter(
                        x=spread.index.tolist(), y=rounded(spread["sd"]), mode="lines", name=name,
                        line={"color": colour, "width": 1.8, "dash": dash(setting, variant)},
                        hovertemplate="%{y:.3g}<extra>" + name + "</extra>",
                    )
                )  # fmt: skip
        if plot.data:
            style(plot, "epoch", "standard deviation over seeds (points)")
            caption = f"Validation top-1 error, finished standalone runs of layers with {MIN_SEEDS} seeds or more; {DASH_WORDS}"
            figures.append(Figure(f"{setting.key}-seeds", f"Appendix G: spread over seeds ({setting.experiment})", caption, plot))
    return figures


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


def _layer_of(rule: str) -> str:
    """The layer that is the root with this gradient rule and all eigenvalues kept; "exact" is that of `svd_lyapunov`."""
    layers = (
        name for name, entry in META_LAYERS.items() if entry.fixed.get("gradient") == rule and "top_n" not in entry.defaults
    )
    return "svd_lyapunov" if rule == "exact" else next(layers, rule)


def _rules(gap: Any, curves: dict[str, torch.Tensor], y: str) -> go.Figure:
    plot = go.Figure()
    for name, values in curves.items():
        magnitude = values.abs().numpy()
        drawn = [float(f"{value:.6g}") if 0 < value < np.inf else None for value in magnitude]
        colour = layer_style(_layer_of(name)).colour
        plot.add_trace(
            go.Scatter(
                x=rounded(gap), y=drawn, mode="lines", name=name,
                line={"color": colour, "width": 1.8, "dash": "dash" if name == "exact" else "solid"},
                hovertemplate="gap %{x:.2g}: %{y:.4g}<extra>" + name + "</extra>",
            )
        )  # fmt: skip
    style(plot, "1 - l_j/l_i", y)
    plot.update_xaxes(type="log", exponentformat="power", dtick=3)
    plot.update_yaxes(type="log")
    return plot
