"""What the figures of the report have in common: plotly figures without colours for text and grid, which the page sets."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gcp_repro.paper.layers import layer_style
from gcp_repro.paper.store.settings import Setting, Variant

__all__ = ["DASH_WORDS", "Figure", "band_and_line", "dash", "mark_swaps", "rounded", "spans_decades", "style"]

HEIGHT = 400
DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot")
FLOAT32_DASH = "dot"
DASH_WORDS = "dotted: float32; dashed: a further route or option of the layer."


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


def dash(setting: Setting, variant: Variant) -> str:
    """The line of a variant: dotted for float32, else by its place among the routes and options of its layer."""
    if variant.dtype == "float32":
        return FLOAT32_DASH
    siblings = [v for v in setting.variants if v.meta_layer == variant.meta_layer and v.dtype != "float32"]
    return DASHES[siblings.index(variant) % len(DASHES)]


def band_and_line(
    setting: Setting, variant: Variant, x: Iterable[Any], mean: pd.Series, low: pd.Series, high: pd.Series
) -> list[go.Scatter]:
    """A line with a band from `low` to `high`, if they differ anywhere."""
    colour, name = layer_style(variant.meta_layer).colour, setting.name(variant)
    group = f"{name} {variant.route} {variant.options}"
    x = list(x)
    band = go.Scatter(
        x=[*x, *x[::-1]], y=rounded([*high, *low.iloc[::-1]]), fill="toself", fillcolor=_transparent(colour),
        line={"width": 0}, mode="lines", legendgroup=group, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    line = go.Scatter(
        x=x, y=rounded(mean), mode="lines", line={"color": colour, "width": 1.8, "dash": dash(setting, variant)},
        name=name, legendgroup=group, customdata=np.column_stack([rounded(low), rounded(high)]).tolist(),
        hovertemplate="%{y:.4g} (%{customdata[0]:.4g} to %{customdata[1]:.4g})<extra>" + name + "</extra>",
    )  # fmt: skip
    return [band, line] if bool((high > low).any()) else [line]


def mark_swaps(plot: go.Figure, swaps: Iterable[float]) -> None:
    """Vertical lines where the hybrid protocol exchanges the layer."""
    for swap in swaps:
        plot.add_vline(
            x=swap - 0.5,
            line={"dash": "dash", "width": 1, "color": "#888"},
            annotation_text="swap",
            annotation_position="bottom right",
            annotation_font_size=11,
        )


def rounded(values: Any) -> list[float]:
    """Six digits are more than a screen shows and keep the page small."""
    return [float(f"{value:.6g}") for value in values]


def spans_decades(values: pd.Series) -> bool:
    """Whether numbers are positive and belong on a logarithmic scale: they span decades, or are all far below 1."""
    numbers = values.dropna()
    if not len(numbers) or numbers.min() <= 0:
        return False
    return bool(numbers.max() > 30 * numbers.min()) or bool(numbers.max() < 1e-6)


def _transparent(colour: str, alpha: float = 0.09) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def style(plot: go.Figure, x: str, y: str) -> None:
    """Axes, legend and margins of every figure."""
    plot.update_layout(
        template="none",
        height=HEIGHT,
        margin={"l": 62, "r": 12, "t": 30, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "inherit", "size": 12},
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0, "font": {"size": 11}},
        hovermode="closest",
    )
    plot.update_xaxes(title_text=x, zeroline=False, title_standoff=8, automargin=True)
    plot.update_yaxes(title_text=y, zeroline=False, title_standoff=8, automargin=True, exponentformat="power")
