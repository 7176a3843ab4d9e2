"""What the figures of the report have in common: plotly figures without colours for text and grid, which the page sets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from gcp_repro.paper.layers import layer_style
from gcp_repro.paper.store.settings import Setting, Variant

__all__ = [
    "DASH_WORDS",
    "HYBRID_MARK",
    "Figure",
    "band_and_line",
    "bundle_traces",
    "dash",
    "mark_swaps",
    "range_of",
    "rounded",
    "spans_decades",
    "style",
    "transparent",
]

HEIGHT = 400
LEGEND_ROWS, LEGEND_ROW = 4, 17
"""Rows of a legend for which there is room in that height, and pixels of a further one."""
HYBRID_MARK = "diamond-open"
DASHES = ("solid", "dash", "longdash")
FLOAT32_DASHES = ("dot", "dashdot", "longdashdot")
BUNDLE = "#80868f"
DASH_WORDS = "dots: float32; dashes: a further route or option of the layer."


@dataclass(frozen=True)
class Figure:
    """A figure with its caption.

    Attributes:
        key: Unique name.
        title: Heading.
        caption: What is drawn.
        plot: The plotly figure.
        notes: What the lines and points cannot say, in sentences.
    """

    key: str
    title: str
    caption: str
    plot: go.Figure
    notes: tuple[str, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """What is drawn, for those who do not see it: each line by its ends and extremes, each point, with the intervals."""
        return tuple(text for trace in self.plot.data if trace.name and (text := _in_words(trace))) + self.notes

    @property
    def json(self) -> str:
        """Data and layout as JSON that may stand inside a script element."""
        return str(self.plot.to_json()).replace("<", "\\u003c")


def _in_words(trace: Any) -> str:
    """A trace in a sentence.

    Example:
        >>> _in_words(go.Scatter(x=[0, 1, 2], y=[9.0, 1.0, 4.0], mode="lines", name="svd_pade"))
        'svd_pade: 9 at 0, 4 at 2; smallest 1 at 1, largest 9 at 0'
    """
    if trace.mode.startswith("lines"):
        points = [(x, y) for x, y in zip(trace.x, trace.y, strict=True) if y is not None]
        if not points:
            return ""
        at = [f"{y:.3g} at {x:.3g}" for x, y in (points[0], points[-1])]
        low, high = (chosen(points, key=lambda point: point[1]) for chosen in (min, max))
        return f"{trace.name}: {', '.join(at)}; smallest {low[1]:.3g} at {low[0]:.3g}, largest {high[1]:.3g} at {high[0]:.3g}"
    return f"{trace.name}: {'; '.join(trace.hovertext)}" if trace.hovertext else ""


def dash(setting: Setting, variant: Variant) -> str:
    """The line of a variant: with dots for float32, and by its place among the routes and options of its layer."""
    single = variant.dtype == "float32"
    siblings = [v for v in setting.variants if v.meta_layer == variant.meta_layer and (v.dtype == "float32") == single]
    dashes = FLOAT32_DASHES if single else DASHES
    return dashes[siblings.index(variant) % len(dashes)]


def band_and_line(
    setting: Setting,
    variant: Variant,
    x: Iterable[Any],
    mean: pd.Series,
    low: pd.Series,
    high: pd.Series,
    name: str = "",
    marked: bool = False,
) -> list[go.Scatter]:
    """A line with a band from `low` to `high`, if they differ anywhere.

    Args:
        setting: Whose runs.
        variant: Whose colour and dash.
        x: Of its points.
        mean: The line.
        low: Lower edge of the band.
        high: Upper edge.
        name: In the legend; the variant's if empty.
        marked: Whether its points have the mark of hybrid runs.
    """
    colour, name = layer_style(variant.meta_layer).colour, name or setting.name(variant)
    group = f"{name} {variant.route} {variant.options}"
    x = list(x)
    band = go.Scatter(
        x=[*x, *x[::-1]], y=rounded([*high, *low.iloc[::-1]]), fill="toself", fillcolor=transparent(colour),
        line={"width": 0}, mode="lines", legendgroup=group, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    line = go.Scatter(
        x=x, y=rounded(mean), mode="lines+markers" if marked else "lines",
        line={"color": colour, "width": 1.8, "dash": dash(setting, variant)}, marker={"symbol": HYBRID_MARK, "size": 7},
        name=name, legendgroup=group, customdata=np.column_stack([rounded(low), rounded(high)]).tolist(),
        hovertemplate="%{y:.4g} (%{customdata[0]:.4g} to %{customdata[1]:.4g})<extra>" + name + "</extra>",
    )  # fmt: skip
    return [band, line] if bool((high > low).any()) else [line]


def bundle_traces(curves: Sequence[pd.Series]) -> list[go.Scatter]:
    """Several lines as one: their middle, and a band from the lowest to the highest."""
    frame = pd.concat(curves, axis=1)
    name, x = f"{len(curves)} level with one another", frame.index.tolist()
    low, high = rounded(frame.min(axis=1)), rounded(frame.max(axis=1))
    band = go.Scatter(
        x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=transparent(BUNDLE, 0.25), line={"width": 0},
        mode="lines", legendgroup=name, showlegend=False, hoverinfo="skip",
    )  # fmt: skip
    line = go.Scatter(
        x=x, y=rounded(frame.median(axis=1)), mode="lines", line={"color": BUNDLE, "width": 2.4}, name=name, legendgroup=name,
        customdata=np.column_stack([low, high]).tolist(),
        hovertemplate="%{y:.4g} (%{customdata[0]:.4g} to %{customdata[1]:.4g})<extra>" + name + "</extra>",
    )  # fmt: skip
    return [band, line]


def range_of(values: pd.DataFrame, logarithmic: bool) -> list[float]:
    """The range of an axis that shows columns `mean` and `std`, and nothing besides."""
    mean, spread = values["mean"], values["std"]
    low, high = (mean - spread).min(), (mean + spread).max()
    if logarithmic:
        low, high = np.log10(mean.min()), np.log10(high)
    margin = 0.05 * (high - low)
    return [float(low - margin), float(high + margin)]


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


def transparent(colour: str, alpha: float = 0.09) -> str:
    """A colour of six hexadecimal digits that lets others through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{alpha})"


def style(plot: go.Figure, x: str, y: str) -> None:
    """Axes, legend and margins of every figure."""
    plot.update_layout(
        template="none",
        height=HEIGHT + LEGEND_ROW * max(0, sum(trace.showlegend is not False for trace in plot.data) - LEGEND_ROWS),
        margin={"l": 62, "r": 12, "t": 30, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": "inherit", "size": 12},
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0, "font": {"size": 11}},
        hovermode="closest",
    )
    plot.update_xaxes(title_text=x, zeroline=False, title_standoff=8, automargin=True)
    plot.update_yaxes(title_text=y, zeroline=False, title_standoff=8, automargin=True, exponentformat="power")
