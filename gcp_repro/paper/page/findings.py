"""Sentences about the measurements, each built from the numbers and only as strong as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from gcp_repro.paper.measured.diagnostics import CONDITION, CONDITION_RANK, diagnostics_columns, metric_name
from gcp_repro.paper.store.results import plural
from gcp_repro.paper.store.settings import Setting, Variant
from gcp_repro.paper.store.statistics import MIN_PAIRS, Difference
from gcp_repro.paper.tables.table import scientific

__all__ = ["Finding", "find"]

GRADIENT_WORDS = ("gradient", "error")
CONDITION_NUMBERS = {
    CONDITION: "with the smallest of all eigenvalues, floored at EPS as in the paper,",
    CONDITION_RANK: "with the smallest eigenvalue of the range",
}


@dataclass(frozen=True)
class Finding:
    """A sentence and the title of the setting it is about."""

    setting: str
    text: str


def find(settings: Sequence[Setting]) -> list[Finding]:
    """What the runs show, setting by setting; where runs are too few to say, that is the sentence."""
    makers = (_average_pooling, _float64_layers, _protocols, _precision, _divergence, _condition, _gradients)
    return [Finding(setting.title, text) for setting in settings for maker in makers for text in maker(setting)]


def _average_pooling(setting: Setting) -> Iterable[str]:
    reference = setting.reference
    pooling = next((variant for variant in setting.variants if variant.meta_layer == "gap"), None)
    if reference is None or pooling is None:
        return
    difference = setting.difference(pooling, "standalone", reference)
    if difference.n == 0:
        return
    errors = (
        f"{setting.summary(reference, 'standalone').text()}% against {setting.summary(pooling, 'standalone').text()}% top-1 error"
    )
    if difference.n < MIN_PAIRS:
        yield f"Covariance pooling ({reference.meta_layer}) and average pooling: {errors}; {_too_few(difference.n)}."
    elif not difference.separated:
        pair = f"Covariance pooling ({reference.meta_layer}) and average pooling"
        yield f"{pair} cannot be told apart: {errors}, {_interval(difference)}."
    else:
        better, worse = ("Covariance", "average") if difference.mean > 0 else ("Average", "covariance")
        yield f"{better} pooling beats {worse} pooling ({reference.meta_layer} against gap: {errors}; {_interval(difference)})."


def _float64_layers(setting: Setting) -> Iterable[str]:
    reference = setting.reference
    if reference is None:
        return
    layers = [v for v in setting.variants if v.dtype != "float32" and v.meta_layer != "gap" and v != reference]
    for protocol in ("standalone", "hybrid"):
        found = [(v, setting.difference(v, protocol, reference)) for v in layers]
        compared = [(v, d) for v, d in found if d.n]
        if compared:
            yield _comparison(setting, f"{protocol.capitalize()}, float64", "isqrt_cov", compared)


def _comparison(setting: Setting, where: str, reference: str, compared: Sequence[tuple[Variant, Difference]]) -> str:
    enough = [(v, d) for v, d in compared if d.n >= MIN_PAIRS]
    if not enough:
        return f"{where}: {plural(len(compared), 'layer')} beside {reference}; {_too_few(max(d.n for _, d in compared))}."
    apart = [(v, d) for v, d in enough if d.separated]
    if not apart:
        none = f"none of {len(enough)} layers differs" if len(enough) > 1 else f"{setting.name(enough[0][0])} does not differ"
        return f"{where}: {none} from {reference} by more than its interval over seeds."
    named = "; ".join(f"{setting.name(v)} {d.text()}" for v, d in apart)
    return (
        f"{where}: {len(apart)} of {plural(len(enough), 'layer')} can be told apart from {reference} (points "
        f"of top-1 error: {named}); "
        f"{0.05 * len(enough):.1f} would be by chance alone."
    )


def _protocols(setting: Setting) -> Iterable[str]:
    layers = [v for v in setting.trained("hybrid") if v.dtype != "float32"]
    compared = [(v, d) for v in layers if (d := setting.difference(v, "hybrid", v)).n]
    if compared:
        yield _comparison(setting, "Hybrid against standalone training", "their own standalone runs", compared)


def _in_double(setting: Setting, single: Variant) -> Variant | None:
    """The float64 variant of the same layer and options, on the same route if it was trained there."""
    twins = [v for v in setting.variants if (v.meta_layer, v.options, v.dtype) == (single.meta_layer, single.options, "float64")]
    return min(twins, key=lambda twin: twin.route != single.route, default=None)


def _precision(setting: Setting) -> Iterable[str]:
    for single in (v for v in setting.variants if v.dtype == "float32"):
        double = _in_double(setting, single)
        diverged = setting.diverged(single, "standalone")
        total = len(setting.select(single, "standalone"))
        if double is None or not total:
            continue
        difference = setting.difference(single, "standalone", double)
        routes = ("", "") if double.route == single.route else (f" on route {single.route}", f" on route {double.route}")
        sentence = f"{setting.name(single, precision=False)} in float32{routes[0]}: "
        if difference.n:
            verdict = (
                "too few for a claim" if difference.n < MIN_PAIRS else "separated" if difference.separated else "not separated"
            )
            errors = [setting.summary(variant, "standalone").text() for variant in (single, double)]
            sentence += f"{errors[0]}% against {errors[1]}% in float64{routes[1]} ({_interval(difference)}; {verdict})"
        else:
            sentence += "no finished run has a counterpart in float64"
        yield sentence + (f"; {diverged} of {plural(total, 'run')} diverged." if diverged else ".")


def _divergence(setting: Setting) -> Iterable[str]:
    diverged = setting.runs[setting.runs["status"] == "diverged"]
    if len(diverged):
        counts = diverged.groupby(["meta_layer", "meta_layer_options", "dtype"]).size()
        named = ", ".join(f"{' '.join(filter(None, key))} ({count})" for key, count in counts.items())
        yield f"Diverged: {len(diverged)} of {plural(len(setting.runs), 'run')}: {named}."
    elif len(setting.runs):
        yield f"No run diverged ({plural(len(setting.runs), 'run')})."


def _condition(setting: Setting) -> Iterable[str]:
    for name, words in CONDITION_NUMBERS.items():
        if name not in diagnostics_columns(setting):
            continue
        values = setting.epochs[name]
        first, last = (values[setting.epochs["epoch"] == epoch].median() for epoch in (0, setting.epochs["epoch"].max()))
        if pd.notna(first) and pd.notna(last):
            change = "fell" if last < 0.9 * first else "rose" if last > 1.1 * first else "stayed"
            ends = f"from {scientific(first, 2)} in the first epoch to {scientific(last, 2)} in the last"
            yield f"The condition number {words} {change} {ends} (medians over all runs)."


def _gradients(setting: Setting) -> Iterable[str]:
    for column in diagnostics_columns(setting):
        if all(word in column for word in GRADIENT_WORDS):
            medians = []
            for variant in setting.trained("standalone"):
                value = setting.history(variant, "standalone")[column].median()
                if pd.notna(value):
                    medians.append(f"{setting.name(variant)} {scientific(float(value), 2)}")
            if medians:
                yield f"{metric_name(column).capitalize()}, median over epochs and seeds: {', '.join(medians)}."


def _interval(difference: Difference) -> str:
    interval = "" if pd.isna(difference.low) else f", 95% interval {difference.low:+.2f} to {difference.high:+.2f}"
    return f"paired difference {difference.mean:+.2f} points{interval}, {plural(difference.n, 'pair')}"


def _too_few(n: int) -> str:
    return f"{plural(n, 'pair')} of seeds, too few for a claim (at least {MIN_PAIRS})"
