"""What the page begins with: the paper's claims, each with what it says, what was found, and a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from gcp_repro.paper.analytic.null_space import gradient_errors
from gcp_repro.paper.figures.epoch_figures import Curves, curve_figure, with_covariance
from gcp_repro.paper.figures.overview import null_space_figure, published_errors_figure, setting_errors_figure
from gcp_repro.paper.figures.plots import Figure
from gcp_repro.paper.layers import LAYERS, REFERENCE_LAYER, layer_style
from gcp_repro.paper.measured.counterparts import counterpart
from gcp_repro.paper.measured.diagnostics import BETA, CONDITION, CONDITION_RANGE
from gcp_repro.paper.page import findings
from gcp_repro.paper.published.published_tables import published_table
from gcp_repro.paper.store.settings import PROTOCOLS, Setting, Variant
from gcp_repro.paper.store.statistics import MIN_PAIRS
from gcp_repro.paper.tables.table import scientific

__all__ = ["Claim", "make_claims", "make_limits"]


@dataclass(frozen=True)
class Claim:
    """A question of the paper's and the answers.

    Attributes:
        key: Anchor.
        question: Heading.
        paper: What the paper says.
        sentences: What was found here, from the numbers; none where nothing was trained.
        figures: Side by side where there is room.
        computed: What this machine computes without any runs: rounding noise, so that no document quotes it.
    """

    key: str
    question: str
    paper: str
    sentences: tuple[str, ...]
    figures: tuple[Figure, ...]
    computed: tuple[str, ...] = ()


def make_claims(settings: Sequence[Setting]) -> list[Claim]:
    """The paper's claims beside the setting with most runs; without runs, beside what can be computed."""
    setting = settings[0] if settings else None
    experiment = setting.experiment if setting else ""
    errors = setting_errors_figure(setting) if setting else None
    return [
        Claim(
            "claim-errors",
            "Does the exact root train worse than the approximate one?",
            _published_gap(experiment),
            _said(setting, findings.float64_layers, findings.hybrid_layers, findings.average_pooling),
            (*([errors] if errors else []), published_errors_figure(experiment)),
        ),
        Claim(
            "claim-precision",
            "Why does SVD need double precision?",
            "MPN-COV fails to converge in single precision, because small eigenvalues are lost.",
            _said(setting, findings.precision),
            (null_space_figure(),),
            (_null_space(),),
        ),
        Claim(
            "claim-smoothness",
            "Are its gradients less smooth?",
            "MPN-COV has far less smooth gradients than iSQRT-COV, and smoother ones train better.",
            _said(setting, findings.smoothness),
            _curves(setting, BETA),
        ),
        Claim(
            "claim-condition",
            "Do covariances become better conditioned, so that a late swap to SVD is safe?",
            _published_condition(),
            _said(setting, findings.condition, findings.protocols),
            _curves(setting, CONDITION_RANGE, CONDITION),
        ),
    ]


def _said(setting: Setting | None, *makers: Callable[[Setting], Iterable[str]]) -> tuple[str, ...]:
    return tuple(text for make in makers for text in make(setting)) if setting else ()


def _curves(setting: Setting | None, *columns: str) -> tuple[Figure, ...]:
    """The first of the columns that was logged, by epoch, standalone and hybrid."""
    found = (
        (curve_figure(setting, Curves("", column, "both", with_covariance), key="overview-") for column in columns)
        if setting
        else ()
    )
    return tuple(figure for figure in found if figure is not None)[:1]


def _published_gap(experiment: str) -> str:
    """How far the published layers are from Newton-Schulz, standalone and hybrid."""
    beside = counterpart(experiment)
    sign = -1 if beside.accuracy else 1
    parts = []
    for protocol in PROTOCOLS:
        values = {
            name: beside.cell(Variant(name, "float64", "dense"), protocol, "final_top1_error").value
            for name in LAYERS
            if layer_style(name).published
        }
        base = values.pop(REFERENCE_LAYER, None)
        gaps = [sign * (value - base) for value in values.values() if value is not None and base is not None]
        if gaps:
            parts.append(f"{protocol} {min(gaps):+.2f} to {max(gaps):+.2f} points")
    return f"{beside.setting}: error of SVD and its remedies against Newton-Schulz, {', '.join(parts)}."


def _published_condition() -> str:
    row = published_table("1").rows[0]
    return f"AlexNet, ImageNet: the condition number falls from {row['epoch_1']} to {row['epoch_21']} as the rate decays."


def _null_space() -> str:
    """The computed part of the answer about precision."""
    single, double, none = (
        gradient_errors(*curve) for curve in (("float32", "dense"), ("float64", "dense"), ("float32", "gram"))
    )
    most, least = single[-1], single[0]
    return (
        f"Computed, for covariances of 7 x 7 positions: mpn_cov's gradient in float32 is off by {scientific(least.median)} "
        f"without a null space and by {scientific(most.median)} with one of {most.null_space} dimensions (largest "
        f"{scientific(most.largest)}); in float64 by {scientific(double[-1].median)}; in float32 on the gram route, which "
        f"decomposes no null space, by {scientific(none[-1].median)}."
    )


def make_limits(settings: Sequence[Setting]) -> list[str]:
    """What the page does not show."""
    limits = []
    if not any(counterpart(setting.experiment, setting.departures).same for setting in settings):
        limits.append("The paper's own experiments, ImageNet and fine-grained data sets, were not trained here.")
    if not settings:
        return [
            *limits,
            "No runs were given: only what can be computed is shown. `gcp-reproduce` trains the embedded experiment.",
        ]
    return [*limits, *_limits_of(settings[0])]


def _limits_of(setting: Setting) -> Iterable[str]:
    yield (
        f"One network on one data set ({setting.title}), one schedule and one learning rate for all layers: this does not rank "
        "layers for other tasks."
    )
    level = [d for protocol in PROTOCOLS for _, d in findings.compared_with_reference(setting, protocol) if not d.separated]
    wide = [max(abs(d.low), abs(d.high)) for d in level if d.n >= MIN_PAIRS]
    if wide:
        yield f"Where layers are said not to differ, differences of up to {max(wide):.1f} points would not have been seen."
    few = [v for v in setting.trained("standalone") if 0 < len(setting.values(v, "standalone")) < MIN_PAIRS]
    if few:
        yield f"Fewer than {MIN_PAIRS} seeds, too few for a claim: {', '.join(setting.name(v) for v in few)}."
    trained = {variant.meta_layer for variant in setting.variants}
    untrained = [style.name for style in LAYERS.values() if style.published and style.name not in trained]
    if untrained:
        yield f"Of the paper's layers not trained here: {', '.join(untrained)}."
    if (setting.runs["device"] == "cpu").all():
        yield "No run was trained on a GPU."
    yield "Intervals are for one comparison each: of twenty, one is expected to be separated by chance."
