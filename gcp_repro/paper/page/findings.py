"""Sentences about the measurements, each built from the numbers and only as strong as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pandas as pd

from gcp_repro.paper.measured.diagnostics import (
    BETA,
    CONDITION,
    CONDITION_RANGE,
    CONDITION_RANK,
    diagnostics_columns,
    metric_name,
)
from gcp_repro.paper.store.results import plural
from gcp_repro.paper.store.settings import NARROWER, Setting, Variant
from gcp_repro.paper.store.statistics import MIN_PAIRS, Difference
from gcp_repro.paper.tables.table import scientific

__all__ = [
    "Finding",
    "average_pooling",
    "compared_with_reference",
    "condition",
    "find",
    "float64_layers",
    "hybrid_layers",
    "precision",
    "protocols",
    "smoothness",
]

GRADIENT_WORDS = ("gradient", "error")
CONDITION_NUMBERS = {
    CONDITION: "with the smallest of all eigenvalues, floored at EPS as in the paper,",
    CONDITION_RANK: "with the smallest eigenvalue of the range",
    CONDITION_RANGE: "with the smallest eigenvalue that is not rounding",
}


@dataclass(frozen=True)
class Finding:
    """A sentence and the title of the setting it is about."""

    setting: str
    text: str


def find(settings: Sequence[Setting]) -> list[Finding]:
    """What the runs show, setting by setting; where runs are too few to say, that is the sentence."""
    makers = (
        average_pooling,
        float64_layers,
        hybrid_layers,
        protocols,
        precision,
        _divergence,
        smoothness,
        condition,
        _gradients,
    )
    return [Finding(setting.title, text) for setting in settings for maker in makers for text in maker(setting)]


def average_pooling(setting: Setting) -> Iterable[str]:
    """Covariance pooling by the reference layer against average pooling."""
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


def float64_layers(setting: Setting) -> Iterable[str]:
    """The standalone layers in float64 against the reference."""
    yield from _against_reference(setting, "standalone")


def hybrid_layers(setting: Setting) -> Iterable[str]:
    """The hybrid layers in float64 against the standalone reference."""
    yield from _against_reference(setting, "hybrid")


def _against_reference(setting: Setting, protocol: str) -> Iterable[str]:
    compared = compared_with_reference(setting, protocol)
    if compared:
        yield _comparison(setting, f"{protocol.capitalize()}, float64", "isqrt_cov", compared)


def compared_with_reference(setting: Setting, protocol: str) -> list[tuple[Variant, Difference]]:
    """The covariance layers in float64 that share seeds with the standalone reference, with their difference to it."""
    reference = setting.reference
    if reference is None:
        return []
    layers = [v for v in setting.variants if v.dtype != "float32" and v.meta_layer != "gap" and v != reference]
    found = [(v, setting.difference(v, protocol, reference)) for v in layers]
    return [(v, d) for v, d in found if d.n]


def _comparison(setting: Setting, where: str, reference: str, compared: Sequence[tuple[Variant, Difference]]) -> str:
    enough = [(v, d) for v, d in compared if d.n >= MIN_PAIRS]
    if not enough:
        return f"{where}: {plural(len(compared), 'layer')} beside {reference}; {_too_few(max(d.n for _, d in compared))}."
    apart = [(v, d) for v, d in enough if d.separated]
    if not apart:
        none = f"none of {len(enough)} layers differs" if len(enough) > 1 else f"{setting.name(enough[0][0])} does not differ"
        low, high = min(d.low for _, d in enough), max(d.high for _, d in enough)
        ends = f"intervals reach from {low:+.2f} to {high:+.2f} points"
        return f"{where}: {none} from {reference} by more than its interval over seeds ({ends})."
    named = "; ".join(f"{setting.name(v)} {d.text()}" for v, d in apart)
    return (
        f"{where}: {len(apart)} of {plural(len(enough), 'layer')} can be told apart from {reference}{_direction(apart)} (points "
        f"of top-1 error: {named}); "
        f"{0.05 * len(enough):.1f} would be by chance alone."
    )


def _direction(apart: Sequence[tuple[Variant, Difference]]) -> str:
    better = sum(difference.mean < 0 for _, difference in apart)
    word = "better" if better == len(apart) else "worse" if better == 0 else ""
    return f", {'all ' if len(apart) > 1 else ''}{word}" if word else f", {better} better and {len(apart) - better} worse"


def protocols(setting: Setting) -> Iterable[str]:
    """The hybrid protocol against standalone training of the same layer, whatever its precision."""
    compared = [(v, d) for v in setting.trained("hybrid") if (d := setting.difference(v, "hybrid", v)).n]
    if compared:
        yield _comparison(setting, "Hybrid against standalone training", "their own standalone runs", compared)


def _in_double(setting: Setting, single: Variant) -> Variant | None:
    """The float64 variant of the same layer and options, on the same route if it was trained there."""
    twins = [v for v in setting.variants if (v.meta_layer, v.options, v.dtype) == (single.meta_layer, single.options, "float64")]
    return min(twins, key=lambda twin: twin.route != single.route, default=None)


def precision(setting: Setting) -> Iterable[str]:
    """Each layer in float32 against its twin in float64."""
    for single in (v for v in setting.variants if v.dtype == "float32"):
        double = _in_double(setting, single)
        diverged = setting.diverged(single, "standalone")
        total = len(setting.select(single, "standalone"))
        if diverged and diverged == total:
            yield f"{setting.name(single)}: {total} of {plural(total, 'run')} diverged."
            continue
        if double is None or not total:
            continue
        difference = setting.difference(single, "standalone", double)
        routes = ("", "") if double.route == single.route else (f" on route {single.route}", f" on route {double.route}")
        sentence = f"{setting.name(single, precision=False)} in float32{routes[0]}: "
        if difference.n:
            verdict = "separated" if difference.separated else "not separated"
            if difference.n < MIN_PAIRS:
                verdict = f"worse or diverged in {_worse(setting, single, double)}" if diverged else "too few for a claim"
            errors = [setting.summary(variant, "standalone").text() for variant in (single, double)]
            sentence += f"{errors[0]}% against {errors[1]}% in float64{routes[1]} ({_interval(difference)}; {verdict})"
        else:
            sentence += "no finished run has a counterpart in float64"
        yield sentence + (f"; {diverged} of {plural(total, 'run')} diverged." if diverged else ".")


def _worse(setting: Setting, single: Variant, double: Variant) -> str:
    """In how many of the pairs of standalone runs the first is worse than the second, or diverged."""
    values, reference = setting.values(single, "standalone"), setting.values(double, "standalone")
    seeds = [seed for seed in setting.select(single, "standalone")["seed"] if seed in reference]
    worse = sum(seed not in values or values[seed] > reference[seed] for seed in seeds)
    return f"{worse} of {plural(len(seeds), 'pair')}"


def _divergence(setting: Setting) -> Iterable[str]:
    diverged = setting.runs[setting.runs["status"] == "diverged"]
    if len(diverged):
        counts = diverged.groupby(["meta_layer", "meta_layer_options", "dtype"]).size()
        named = ", ".join(f"{' '.join(filter(None, key))} ({count})" for key, count in counts.items())
        yield f"Diverged: {len(diverged)} of {plural(len(setting.runs), 'run')}: {named}."
    elif len(setting.runs):
        yield f"No run diverged ({plural(len(setting.runs), 'run')})."


def smoothness(setting: Setting) -> Iterable[str]:
    """Effective beta-smoothness at the layer's input: the reference, the other layers in float64, and each other one."""
    if BETA not in diagnostics_columns(setting):
        return
    medians = {v: float(setting.history(v, "standalone")[BETA].median()) for v in setting.trained("standalone")}
    medians = {variant: value for variant, value in medians.items() if pd.notna(value) and variant.meta_layer != "gap"}
    reference = medians.pop(setting.reference, None) if setting.reference else None
    double = [value for variant, value in medians.items() if variant.dtype not in NARROWER]
    parts = [] if reference is None else [f"isqrt_cov {scientific(reference, 2)}"]
    if double:
        low, high = scientific(min(double), 2), scientific(max(double), 2)
        ends = low if low == high else f"{low} to {high}"
        parts.append(f"{plural(len(double), 'other layer')} in float64 {ends}")
    parts += [f"{setting.name(v)} {scientific(value, 2)}" for v, value in medians.items() if v.dtype in NARROWER]
    if parts:
        yield f"Effective beta-smoothness at the layer's input, median over epochs and seeds: {', '.join(parts)}."


def condition(setting: Setting) -> Iterable[str]:
    """How the condition numbers changed from the first epoch to the last."""
    for name, words in CONDITION_NUMBERS.items():
        logged = diagnostics_columns(setting)
        if name not in logged or (name == CONDITION_RANK and CONDITION_RANGE in logged):
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
