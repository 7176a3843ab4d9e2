"""Errors measured in training beside the published ones: the form of Tables 2 and 3, paired differences, and Table 11."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from gcp_repro.paper.layers import layer_style
from gcp_repro.paper.published_tables import published_table
from gcp_repro.paper.results import plural
from gcp_repro.paper.settings import PROTOCOLS, Setting, Variant, cell_anchor
from gcp_repro.paper.statistics import MIN_PAIRS, Difference, places, summarise
from gcp_repro.paper.tables import MISSING, Cell, Column, Table, label, number_text

__all__ = ["differences_table", "errors_table", "published_cell", "variant_cells", "warmup_table"]

METRICS = (
    ("final_top1_error", "final top-1"),
    ("final_top5_error", "final top-5"),
    ("best_top1_error", "best top-1"),
    ("best_top5_error", "best top-5"),
)

PublishedSlots = dict[tuple[str, str], str]
TABLE2_SLOTS: PublishedSlots = {
    ("standalone", "final top-1"): "standalone_final_top1",
    ("standalone", "final top-5"): "standalone_final_top5",
    ("hybrid", "final top-1"): "hybrid_final_top1",
    ("hybrid", "final top-5"): "hybrid_final_top5",
    ("hybrid", "best top-1"): "hybrid_best_top1",
    ("hybrid", "best top-5"): "hybrid_best_top5",
}
TABLE3_SLOTS: PublishedSlots = {
    ("standalone", "final top-1"): "standalone_top1",
    ("standalone", "final top-5"): "standalone_top5",
    ("hybrid", "final top-1"): "hybrid_top1",
    ("hybrid", "final top-5"): "hybrid_top5",
}
RESNET_LAYER = {"gap": "Vanilla"}


def _published_source(experiment: str) -> tuple[str, dict[str, str], PublishedSlots, str]:
    """Which published table an experiment stands beside: number, row filter, columns, and the paper's setting in words."""
    for backbone, name in (("resnet50", "ResNet-50"), ("resnet101", "ResNet-101")):
        if experiment.startswith(backbone) and "imagenet" in experiment:
            return "3", {"backbone": name}, TABLE3_SLOTS, f"{name}, ImageNet"
    return "2", {}, TABLE2_SLOTS, "AlexNet, ImageNet"


def published_cell(experiment: str, variant: Variant, protocol: str, column: str) -> Cell:
    """The paper's number for a cell of the measured table, marked among the best three of its column as in the paper."""
    number, where, slots, _ = _published_source(experiment)
    name = RESNET_LAYER.get(variant.meta_layer, "") if number == "3" else ""
    method = name or layer_style(variant.meta_layer).published
    slot = slots.get((protocol, column))
    rows = [row for row in published_table(number).rows if all(row[key] == value for key, value in where.items())]
    row = next((row for row in rows if row["method"] == method), None)
    if slot is None or row is None or variant.dtype == "float32":
        return MISSING
    better = len({candidate[slot] for candidate in rows if float(candidate[slot]) < float(row[slot])})
    return Cell(row[slot], number_text(row[slot]), "published", place=better + 1 if better < 3 else None)


def errors_table(setting: Setting) -> Table:
    """Errors in the form of the paper's Table 2, measured beside published."""
    _, _, slots, paper_setting = _published_source(setting.experiment)
    columns: list[Column] = []
    makers: list[Callable[[Variant], Cell]] = []
    for protocol in PROTOCOLS:
        group = f"{protocol}, measured ({setting.experiment})"
        marks = _measured_places(setting, protocol)
        for metric, name in METRICS:
            columns.append(Column(name, group))
            makers.append(_measured_maker(setting, protocol, metric, marks if metric == "final_top1_error" else {}))
        columns.append(Column("runs", group))
        makers.append(partial(_count_cell, setting, protocol=protocol))
        for _, name in METRICS:
            if (protocol, name) in slots:
                columns.append(Column(name, f"{protocol}, published ({paper_setting})"))
                makers.append(partial(published_cell, setting.experiment, protocol=protocol, column=name))
    rows = tuple((*variant_cells(setting, variant), *(make(variant) for make in makers)) for variant in setting.variants)
    return Table(
        f"errors-{setting.key}",
        f"Validation error, {setting.title}",
        (Column("layer"), Column("precision"), *columns),
        rows,
        caption=(
            "Percent; mean ± standard deviation over seeds of the runs that finished. Hybrid: Newton-Schulz first, then the layer"
            + (f", with {plural(int(setting.warmup_epochs), 'warm-up epoch')}" if setting.warmup_epochs >= 0 else "")
            + ". Published numbers are from one run each, of another network on other data: the two are not expected to agree."
        ),
        notes=(
            "Best three: first, second, third, marked in the published columns as the paper does. A measured "
            "entry is marked only if it is "
            f"separated from the next one by a paired interval over at least {MIN_PAIRS} seeds.",
            'Footnotes to the published numbers are under "The paper\'s tables as published".',
        ),
    )


def variant_cells(setting: Setting, variant: Variant) -> tuple[Cell, Cell]:
    """The name of a layer, with its route where several were trained, and its precision."""
    return Cell(setting.name(variant, precision=False), float(setting.variants.index(variant))), label(variant.dtype)


def _measured_places(setting: Setting, protocol: str) -> dict[Any, int]:
    return places({variant: setting.values(variant, protocol) for variant in setting.trained(protocol)})


def _measured_maker(setting: Setting, protocol: str, metric: str, marks: dict[Any, int]) -> Callable[[Variant], Cell]:
    def make(variant: Variant) -> Cell:
        summary = setting.summary(variant, protocol, metric)
        if summary.n == 0:
            return MISSING
        link = f"#{cell_anchor(setting, variant, protocol)}"
        return Cell(summary.text(), summary.mean, "measured", link, marks.get(variant))

    return make


def _count_cell(setting: Setting, variant: Variant, protocol: str) -> Cell:
    finished, diverged = len(setting.values(variant, protocol)), setting.diverged(variant, protocol)
    if not finished + diverged:
        return MISSING
    text = f"{finished} + {diverged} diverged" if diverged else str(finished)
    return Cell(text, float(finished), "measured", f"#{cell_anchor(setting, variant, protocol)}")


def differences_table(setting: Setting) -> Table:
    """Paired differences of the final top-1 error: to the reference layer, and of the hybrid protocol to the standalone one."""
    reference = setting.reference
    rows = []
    for variant in setting.variants:
        to_reference = [
            None
            if reference is None or (variant, protocol) == (reference, "standalone")
            else setting.difference(variant, protocol, reference)
            for protocol in PROTOCOLS
        ]
        to_itself = setting.difference(variant, "hybrid", variant)
        if any(difference is not None and difference.n for difference in (*to_reference, to_itself)):
            rows.append(
                (*variant_cells(setting, variant), *(cell for d in (*to_reference, to_itself) for cell in _difference_cells(d)))
            )
    groups = ("standalone minus isqrt_cov", "hybrid minus isqrt_cov", "hybrid minus standalone, same layer")
    columns = [Column(name, group) for group in groups for name in ("difference [interval]", "pairs", "separated")]
    return Table(
        f"differences-{setting.key}",
        f"Paired differences, {setting.title}",
        (Column("layer"), Column("precision"), *columns),
        tuple(rows),
        caption=(
            "Final top-1 error in points, pairs of runs with the same seed; isqrt_cov is the standalone one in "
            "float64. Brackets: 95% bootstrap "
            "interval of the mean (10,000 resamples, expanded percentiles)."
        ),
        notes=(
            f"Separated: the interval excludes zero and rests on at least {MIN_PAIRS} pairs. Fewer pairs agree in "
            f"sign by chance too often for a "
            "resampling interval to mean what it says. Of many comparisons, one in twenty is expected to be separated by chance.",
        ),
    )


def _difference_cells(difference: Difference | None) -> tuple[Cell, Cell, Cell]:
    if difference is None or difference.n == 0:
        return MISSING, MISSING, MISSING
    verdict = "too few pairs" if difference.n < MIN_PAIRS else "yes" if difference.separated else "no"
    return (
        Cell(difference.text(), difference.mean, "measured"),
        Cell(str(difference.n), float(difference.n), "measured"),
        label(verdict),
    )


def warmup_table(setting: Setting) -> Table | None:
    """Table 11: hybrid training by length of the warm-up, for a setting that has several; else `None`."""
    hybrid = setting.runs[(setting.runs["protocol"] == "hybrid") & (setting.runs["status"] == "finished")]
    lengths = sorted(hybrid["warmup_epochs"].dropna().unique())
    if len(lengths) < 2:
        return None
    rows = []
    for variant in setting.trained("hybrid"):
        for length in lengths:
            runs = setting.select(variant, "hybrid", length)
            cells = [
                Cell(s.text(), s.mean, "measured") if s.n else MISSING for s in (summarise(runs[metric]) for metric, _ in METRICS)
            ]
            rows.append((*variant_cells(setting, variant), Cell(str(int(length)), float(length)), *cells))
    return Table(
        f"warmup-{setting.key}",
        f"Warm-up epochs, {setting.title}",
        (Column("layer"), Column("precision"), Column("warm-up epochs"), *(Column(name) for _, name in METRICS)),
        tuple(rows),
        caption="Error in percent; mean ± standard deviation over seeds.",
    )
