"""The figures with which the page begins: one a claim, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from gcp_repro.paper.analytic.null_space import CURVES, POSITIONS, TRACE, gradient_errors
from gcp_repro.paper.figures.plots import HYBRID_MARK, Figure, rounded, style, transparent
from gcp_repro.paper.layers import LAYERS, REFERENCE_LAYER, layer_style
from gcp_repro.paper.measured.counterparts import Counterpart, counterpart
from gcp_repro.paper.store.results import plural
from gcp_repro.paper.store.settings import PROTOCOLS, Setting, Variant
from gcp_repro.paper.store.statistics import Difference

__all__ = ["null_space_figure", "published_errors_figure", "setting_errors_figure"]

MARKS = {"standalone": ("circle", "#2c6fb3"), "hybrid": (HYBRID_MARK, "#c4562a")}
"""Symbol and colour of a protocol's points."""
ROW, FRAME = 31, 130
"""Pixels of a row, and of all that surrounds the rows."""
APART = 0.16
"""Of a row: how far the points of the two protocols lie from its middle."""
DIFFERENCE = "difference (points)"
ROUTE_COLOURS = {("float32", "dense"): "#d1495b", ("float64", "dense"): "#2c6fb3", ("float32", "gram"): "#2e8b57"}


@dataclass(frozen=True)
class Point:
    """A difference in a row of a dot plot; `note` stands below the name of its row."""

    difference: Difference | None
    note: str = ""


Rows = Mapping[str, Mapping[str, Point]]
"""Points by name of the row and protocol, from top to bottom."""


def setting_errors_figure(setting: Setting) -> Figure | None:
    """Error of every layer less that of Newton-Schulz, standalone and hybrid, with 95 % intervals over pairs of seeds."""
    reference = setting.reference
    if reference is None:
        return None
    rows: dict[str, dict[str, Point]] = {}
    for variant in setting.variants:
        measured = ((name, _measured(setting, variant, name, reference)) for name in PROTOCOLS)
        points = {name: point for name, point in measured if point is not None}
        if points and variant != reference:
            rows[setting.name(variant)] = points
    if not rows:
        return None
    error = setting.summary(reference, "standalone")
    return Figure(
        f"overview-{setting.key}",
        f"Measured: {setting.experiment}",
        f"Top-1 error less that of {REFERENCE_LAYER} ({error.text()} %, {plural(error.n, 'seed')}); bars: 95 % interval of the "
        "paired difference over seeds.",
        _dots(rows, DIFFERENCE),
    )


def _measured(setting: Setting, variant: Variant, protocol: str, reference: Variant) -> Point | None:
    difference, diverged = setting.difference(variant, protocol, reference), setting.diverged(variant, protocol)
    total = len(setting.select(variant, protocol))
    note = f"{diverged} of {total} diverged" if diverged else ""
    return Point(difference if difference.n else None, note) if difference.n or note else None


def published_errors_figure(experiment: str) -> Figure:
    """The same from the published table beside which an experiment stands, in its own scale; one run each, no interval."""
    beside = counterpart(experiment)
    layers = [Variant(name, "float64", "dense") for name in LAYERS]
    reference = Variant(REFERENCE_LAYER, "float64", "dense")
    rows = {
        layer_style(layer.meta_layer).published: points
        for layer in layers
        if layer != reference and (points := _printed(beside, layer, reference))
    }
    error = beside.cell(reference, "standalone", "final_top1_error").text
    return Figure(
        f"overview-published-{beside.number}-{experiment}",
        f"The paper: {beside.setting}",
        f"Table {beside.number}, {'accuracy' if beside.accuracy else 'error'} of iSQRT-COV {error} %. One run each, so without "
        "intervals; the scale is its own.",
        _dots(rows, DIFFERENCE),
    )


def _printed(beside: Counterpart, layer: Variant, reference: Variant) -> dict[str, Point]:
    base = beside.cell(reference, "standalone", "final_top1_error").value
    sign = -1 if beside.accuracy else 1
    points = {}
    for protocol in PROTOCOLS:
        value = beside.cell(layer, protocol, "final_top1_error").value
        if value is not None and base is not None:
            points[protocol] = Point(Difference(1, sign * (value - base), math.nan, math.nan))
    return points


def _dots(rows: Rows, x: str) -> go.Figure:
    plot = go.Figure()
    names = list(rows)
    for protocol, (symbol, colour) in MARKS.items():
        drawn = [(name, rows[name][protocol]) for name in names if protocol in rows[name]]
        found = [(name, point.difference) for name, point in drawn if point.difference is not None]
        if found:
            plot.add_trace(_points(protocol, symbol, colour, found, names))
    plot.add_vline(x=0, line={"width": 1, "color": "#888"})
    style(plot, x, "")
    plot.update_layout(height=FRAME + ROW * len(names), margin={"t": 28})
    plot.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=[_tick(name, rows[name]) for name in names],
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
        title_text=None,
    )
    return plot


def _tick(name: str, points: Mapping[str, Point]) -> str:
    notes = [point.note if len(points) == 1 else f"{point.note} {protocol}" for protocol, point in points.items() if point.note]
    return f"{name}<br><i>{', '.join(notes)}</i>" if notes else name


def _height(names: Sequence[str], name: str, protocol: str) -> float:
    return names.index(name) + (-APART if protocol == "standalone" else APART)


def _points(protocol: str, symbol: str, colour: str, found: Sequence[tuple[str, Difference]], names: Sequence[str]) -> go.Scatter:
    above = [0.0 if math.isnan(d.high) else d.high - d.mean for _, d in found]
    below = [0.0 if math.isnan(d.low) else d.mean - d.low for _, d in found]
    return go.Scatter(
        x=rounded(d.mean for _, d in found), y=[_height(names, name, protocol) for name, _ in found],
        mode="markers", name=protocol,
        marker={"symbol": symbol, "color": colour, "size": 9, "line": {"width": 1.8, "color": colour}},
        error_x={"array": rounded(above), "arrayminus": rounded(below), "color": colour, "thickness": 1.6, "width": 3},
        hovertext=[f"{name} {d.text()}" for name, d in found], hovertemplate="%{hovertext}<extra>" + protocol + "</extra>",
    )  # fmt: skip


def null_space_figure() -> Figure:
    """Error of the ordinary SVD gradient by dimension of the null space, computed here."""
    plot = go.Figure()
    for dtype, route in CURVES:
        errors, colour = gradient_errors(dtype, route), ROUTE_COLOURS[dtype, route]
        x = [error.null_space for error in errors]
        low, high = rounded(error.smallest for error in errors), rounded(error.largest for error in errors)
        name = f"{dtype}, {route}"
        plot.add_trace(
            go.Scatter(
                x=[*x, *x[::-1]], y=[*high, *low[::-1]], fill="toself", fillcolor=transparent(colour, 0.15), line={"width": 0},
                mode="lines", legendgroup=name, showlegend=False, hoverinfo="skip",
            )
        )  # fmt: skip
        plot.add_trace(
            go.Scatter(
                x=x, y=rounded(error.median for error in errors), mode="lines", line={"color": colour, "width": 2}, name=name,
                legendgroup=name, hovertemplate="%{x} dimensions: %{y:.2g}<extra>" + name + "</extra>",
            )
        )  # fmt: skip
    style(plot, "null space (dimensions)", "relative error of the gradient")
    plot.update_yaxes(type="log", dtick=2)
    return Figure(
        "null-space",
        "Computed: error of the gradient of mpn_cov",
        "By the dimension of the null space, C - N + 1, against the same layer in float64 without one (gram route); "
        f"N = {POSITIONS} positions, covariances of trace {TRACE:.0f}. Line: median, band: smallest and largest of the images.",
        plot,
    )
