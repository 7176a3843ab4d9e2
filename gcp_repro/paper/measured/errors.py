"""Errors and accuracies measured in training beside the published ones: Tables 2, 3, 4 and 11, and paired differences."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import replace
from functools import partial
from typing import Any

from gcp_repro.paper.layers import REFERENCE_LAYER, layer_order
from gcp_repro.paper.measured.counterparts import Counterpart, counterpart, reproducing
from gcp_repro.paper.published.published_tables import published_table, ranked_cell
from gcp_repro.paper.store.results import plural
from gcp_repro.paper.store.settings import PROTOCOLS, Setting, Variant, cell_anchor
from gcp_repro.paper.store.statistics import MIN_PAIRS, Difference, places, summarise
from gcp_repro.paper.tables.table import MISSING, Cell, Column, Table, label

__all__ = ["VARIANT_HEADINGS", "differences_table", "errors_table", "variant_cells", "warmup_table"]

VARIANT_HEADINGS = (Column("layer"), Column("route"), Column("precision"))
METRICS = (
    ("final_top1_error", "final top-1"),
    ("final_top5_error", "final top-5"),
    ("best_top1_error", "best top-1"),
    ("best_top5_error", "best top-5"),
)

PUBLISHED_LENGTHS = {0.0: "no warm-up", 1.0: "1 epoch", 2.0: "2 epochs", 3.0: "3 epochs"}
"""Rows of Table 11 by warm-up epochs."""
SHOWN_METRICS = {False: METRICS, True: (("final_top1_error", "final"), ("best_top1_error", "best"))}
"""What tables of errors and of accuracies show."""


def errors_table(setting: Setting) -> Table:
    """Errors or accuracies in the form of the published table beside which the setting stands, measured beside published.

    Of the paper's own experiments the published rows that were not trained here are shown as well.
    """
    beside = counterpart(setting.experiment, setting.departures)
    reproduced = reproducing(setting.variants)
    untrained = _untrained(beside, reproduced)
    metrics = SHOWN_METRICS[beside.accuracy]
    several = _evaluated_more_than_once(setting)
    columns: list[Column] = []
    makers: list[Callable[[Variant], Cell]] = []
    for protocol in _shown_protocols(setting, beside):
        group = f"{protocol}, measured ({setting.experiment})"
        marks = _measured_places(setting, protocol)
        for metric, name in metrics:
            if metric.startswith("best") and not several:
                continue
            columns.append(Column(name, group))
            shown = marks if metric == "final_top1_error" else {}
            makers.append(_measured_maker(setting, protocol, metric, shown, beside.accuracy))
        columns.append(Column("runs", group))
        makers.append(partial(_count_cell, setting, protocol=protocol))
        for metric, name in metrics:
            if (protocol, metric) in beside.slots:
                columns.append(Column(name, f"{protocol}, published ({beside.setting})"))
                makers.append(_published_maker(beside, {*reproduced, *untrained}, protocol, metric))
    variants = sorted((*setting.variants, *untrained), key=lambda variant: variant.order)
    rows = tuple((*variant_cells(variant), *(make(variant) for make in makers)) for variant in variants)
    quantity = "Accuracy" if beside.accuracy else "Validation error"
    return Table(
        f"errors-{setting.key}",
        f"Table {beside.number}: {quantity.lower()}, {setting.title}" if beside.same else f"{quantity}, {setting.title}",
        (*VARIANT_HEADINGS, *columns),
        rows,
        caption=_errors_caption(setting, beside),
        notes=(
            "A published number stands beside the variant that computes what the paper did: float64, dense route, default "
            "options. isqrt_cov is the same function on every route: another one will do where dense was not trained.",
            "Best three: first, second, third, marked in the published columns as the paper does. A measured "
            "entry is marked only if it is "
            f"separated from the next one by a paired interval over at least {MIN_PAIRS} seeds.",
            'Footnotes to the published numbers are under "The paper\'s tables as published".',
        ),
    )


def _evaluated_more_than_once(setting: Setting) -> bool:
    """Whether the best epoch of a run may be another than the last."""
    finished = setting.runs[setting.runs["status"] == "finished"]
    return bool((finished["best_top1_error"] != finished["final_top1_error"]).any()) or not len(finished)


def _shown_protocols(setting: Setting, beside: Counterpart) -> list[str]:
    published = {protocol for protocol, _ in beside.slots}
    return [name for name in PROTOCOLS if name in published or any(True for _ in setting.trained(name))]


def _errors_caption(setting: Setting, beside: Counterpart) -> str:
    text = "Percent; mean ± standard deviation over seeds of the runs that finished."
    if any(True for _ in setting.trained("hybrid")):
        warmup = f", with {plural(int(setting.warmup_epochs), 'warm-up epoch')}" if setting.warmup_epochs >= 0 else ""
        text += f" Hybrid: Newton-Schulz first, then the layer{warmup}."
    if beside.accuracy:
        text += " Fine-tuned from an ImageNet run with the hybrid protocol; after the last epoch, and in the best one."
    if not beside.slots:
        return text + " The paper does not have this data set."
    if beside.same:
        return text + " Published numbers are from one run each."
    return text + f" Published numbers are from one run each, {beside.departure}: the two are not expected to agree."


def _untrained(beside: Counterpart, reproduced: Set[Variant]) -> list[Variant]:
    """The published rows of the paper's own experiments for which there is no run."""
    trained = {variant.meta_layer for variant in reproduced}
    return [variant for variant in beside.variants if variant.meta_layer not in trained] if beside.same and beside.slots else []


def _published_maker(beside: Counterpart, shown: Set[Variant], protocol: str, metric: str) -> Callable[[Variant], Cell]:
    return lambda variant: beside.cell(variant, protocol, metric) if variant in shown else MISSING


def variant_cells(variant: Variant) -> tuple[Cell, Cell, Cell]:
    """Layer (sorted as in the paper) with its options, route and precision."""
    name = variant.meta_layer + (f" ({variant.options})" if variant.options else "")
    return Cell(name, float(layer_order(variant.meta_layer)[0])), label(variant.route), label(variant.dtype)


def _measured_places(setting: Setting, protocol: str) -> dict[Any, int]:
    return places({variant: setting.values(variant, protocol) for variant in setting.trained(protocol)})


def _measured_maker(
    setting: Setting, protocol: str, metric: str, marks: dict[Any, int], accuracy: bool
) -> Callable[[Variant], Cell]:
    def make(variant: Variant) -> Cell:
        summary = setting.summary(variant, protocol, metric)
        if summary.n == 0:
            return MISSING
        if accuracy:
            summary = replace(summary, mean=100 - summary.mean)
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
            links = [f"#{cell_anchor(setting, variant, protocol)}" for protocol in (*PROTOCOLS, "hybrid")]
            compared = zip((*to_reference, to_itself), links, strict=True)
            rows.append((*variant_cells(variant), *(cell for d, link in compared for cell in _difference_cells(d, link))))
    groups = ("standalone minus isqrt_cov", "hybrid minus isqrt_cov", "hybrid minus standalone, same layer")
    columns = [Column(name, group) for group in groups for name in ("difference [interval]", "pairs", "separated")]
    return Table(
        f"differences-{setting.key}",
        f"Paired differences, {setting.title}",
        (*VARIANT_HEADINGS, *columns),
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


def _difference_cells(difference: Difference | None, link: str) -> tuple[Cell, Cell, Cell]:
    if difference is None or difference.n == 0:
        return MISSING, MISSING, MISSING
    verdict = "too few pairs" if difference.n < MIN_PAIRS else "yes" if difference.separated else "no"
    return (
        Cell(difference.text(), difference.mean, "measured", link),
        Cell(str(difference.n), float(difference.n), "measured", link),
        label(verdict),
    )


def warmup_table(setting: Setting) -> Table | None:
    """Table 11: hybrid training by length of the warm-up, for a setting that has several; else `None`."""
    hybrid = setting.runs[(setting.runs["protocol"] == "hybrid") & (setting.runs["status"] == "finished")]
    lengths = sorted(hybrid["warmup_epochs"].dropna().unique())
    if len(lengths) < 2:
        return None
    rows = [_reference_row(setting)]
    reproduced = reproducing(setting.variants)
    for variant in setting.trained_as("hybrid"):
        printed = PUBLISHED_LENGTHS if variant.meta_layer == "svd_pade" and variant in reproduced else {}
        for length in sorted({*lengths, *printed}):
            cells = (*_warmup_cells(setting, variant, length), *_published_warmup(printed.get(length)))
            if any(cell is not MISSING for cell in cells):
                rows.append((*variant_cells(variant), Cell(f"{length:.0f}", float(length)), *cells))
    groups = (f"measured ({setting.experiment})", "published (AlexNet, ImageNet)")
    columns = [Column(name, group) for group in groups for _, name in METRICS]
    return Table(
        f"table11-{setting.key}",
        f"Table 11: warm-up epochs of the hybrid protocol, {setting.title}",
        (*VARIANT_HEADINGS, Column("warm-up epochs"), *columns),
        tuple(rows),
        caption="Error in percent; mean ± standard deviation over seeds. The paper has SVD-Pade, dense route, one run each.",
        notes=tuple(note.text for note in published_table("11").footnotes),
    )


def _reference_row(setting: Setting) -> tuple[Cell, ...]:
    """Newton-Schulz to the end, which the warm-ups are compared with."""
    reference = setting.reference or Variant(REFERENCE_LAYER, "float64", "dense")
    makers = (_measured_maker(setting, "standalone", metric, {}, accuracy=False) for metric, _ in METRICS)
    return (*variant_cells(reference), label("none"), *(make(reference) for make in makers), *_published_warmup("iSQRT-COV"))


def _warmup_cells(setting: Setting, variant: Variant, length: float) -> list[Cell]:
    runs = setting.select(variant, "hybrid", length)
    finished = runs[runs["status"] == "finished"]
    link = f"#{cell_anchor(setting, variant, 'hybrid')}"
    summaries = [summarise(finished[metric]) for metric, _ in METRICS]
    return [Cell(s.text(), s.mean, "measured", link) if s.n else MISSING for s in summaries]


def _published_warmup(row: str | None) -> list[Cell]:
    if row is None:
        return [MISSING for _ in METRICS]
    table = published_table("11")
    return [ranked_cell(table.rows, table.row(setting=row), metric.removesuffix("_error")) for metric, _ in METRICS]
