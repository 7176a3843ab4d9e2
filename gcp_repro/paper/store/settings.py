"""What is compared with what: a setting, and the variants of the meta-layer trained in it.

Runs of one setting agree in everything that changes numbers but the seed, the meta-layer and the protocol
(`gcp_repro.runs.identity`). Whatever else differs makes a setting of its own, named by what differs.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import astuple, dataclass, field
from typing import Any

import pandas as pd

from gcp_repro.paper.layers import REFERENCE_LAYER, layer_order
from gcp_repro.paper.store.experiments import DEPENDS_ON_PROCESSES, configured_setting, differences
from gcp_repro.paper.store.results import Results, plural
from gcp_repro.paper.store.statistics import Difference, Summary, paired_difference, summarise

__all__ = ["NARROWER", "PROTOCOLS", "Setting", "Variant", "cell_anchor", "find_settings"]

PROTOCOLS = ("standalone", "hybrid")
SHOWN_CHANGES = 4
NARROWER = ("mixed", "float32")  # precisions below float64, in the order of tables
VARIANT_COLUMNS = ["meta_layer", "dtype", "route", "meta_layer_options"]


@dataclass(frozen=True, order=True)
class Variant:
    """A meta-layer as configured: the rows of a table.

    Attributes:
        meta_layer: Registered name.
        dtype: "float64", "mixed", "float32", or empty for a layer without one.
        route: "dense", "gram", or empty.
        options: Options other than the defaults, as in "top_n=14".
    """

    meta_layer: str
    dtype: str
    route: str
    options: str = ""

    @property
    def order(self) -> tuple[int, tuple[int, str], str, str]:
        """Sorting key: by precision, float64 first, then layers as in the paper."""
        return (
            NARROWER.index(self.dtype) + 1 if self.dtype in NARROWER else 0,
            layer_order(self.meta_layer),
            self.options,
            self.route,
        )


@dataclass(frozen=True)
class Setting:
    """The runs that may be compared with one another.

    Attributes:
        experiment: As in `gcp-train experiment=...`.
        backbone: The network's name.
        num_epochs: Length of training.
        changes: In what it differs from the experiment as configured, or where that was not trained, from the most frequent
            setting, by dotted name.
        departures: In what it differs from the experiment as configured.
        runs: Their rows of `Results.runs`.
        epochs: Their rows of `Results.epochs`.
        warmup_epochs: Length of the warm-up of the hybrid runs in the tables: the most frequent one.
        steps: Their rows of `Results.steps`.
    """

    experiment: str
    backbone: str
    num_epochs: int
    runs: pd.DataFrame = field(repr=False)
    epochs: pd.DataFrame = field(repr=False)
    warmup_epochs: float = 0
    changes: Mapping[str, Any] = field(default_factory=dict)
    departures: Mapping[str, Any] = field(default_factory=dict)
    steps: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)

    @property
    def key(self) -> str:
        """A name for anchors and files."""
        parts = (self.experiment, self.backbone, self.num_epochs, *(f"{name}-{value}" for name, value in self.changes.items()))
        return re.sub(r"[^0-9A-Za-z.]+", "-", "-".join(map(str, parts))).strip("-")

    @property
    def title(self) -> str:
        """A heading."""
        what = f"{self.experiment}: {self.backbone or 'network not named'}, {plural(self.num_epochs, 'epoch')}"
        return ", ".join([what, *self._named_changes()])

    def _named_changes(self) -> list[str]:
        """The changes that the rest of the title does not say."""
        told = ("schedule.epochs", "schedule.milestones", "model.backbone._target_")
        named = [f"{name}={value}" for name, value in self.changes.items() if name not in told]
        return (
            named
            if len(named) <= SHOWN_CHANGES
            else [*named[: SHOWN_CHANGES - 1], f"{len(named) - SHOWN_CHANGES + 1} more changes"]
        )

    @functools.cached_property
    def variants(self) -> list[Variant]:
        """All layers trained here, in the order of the paper, float32 last."""
        rows = self.runs[VARIANT_COLUMNS].drop_duplicates()
        return sorted((Variant(*row) for row in rows.itertuples(index=False)), key=lambda variant: variant.order)

    @property
    def reference(self) -> Variant | None:
        """`isqrt_cov` in float64: what all others are compared with."""
        return next(
            (v for v in self.variants if v.meta_layer == REFERENCE_LAYER and v.dtype not in NARROWER and not v.options), None
        )

    def name(self, variant: Variant, precision: bool = True) -> str:
        """A variant in words: its layer, its route where several were trained, and its precision unless that is float64.

        Args:
            variant: One of `variants`.
            precision: Whether to name the precision.
        """
        same = [
            v for v in self.variants if (v.meta_layer, v.dtype, v.options) == (variant.meta_layer, variant.dtype, variant.options)
        ]
        details = [variant.options] * bool(variant.options) + [variant.route] * (len(same) > 1)
        return (
            variant.meta_layer
            + (f" ({', '.join(details)})" if details else "")
            + (f" {variant.dtype}" if precision and variant.dtype in NARROWER else "")
        )

    def select(self, variant: Variant, protocol: str, warmup_epochs: float | None = None) -> pd.DataFrame:
        """The runs of one cell of the table; hybrid ones with the setting's usual warm-up unless told otherwise."""
        runs = self.select_all(variant, protocol)
        if protocol == "standalone":
            return runs
        return runs[runs["warmup_epochs"].fillna(-1) == (self.warmup_epochs if warmup_epochs is None else warmup_epochs)]

    def select_all(self, variant: Variant, protocol: str) -> pd.DataFrame:
        """The runs of a variant under a protocol, whatever the warm-up."""
        return self._cells.get((*astuple(variant), protocol), self.runs.iloc[:0])

    @functools.cached_property
    def _cells(self) -> dict[Hashable, pd.DataFrame]:
        return dict(iter(self.runs.groupby([*VARIANT_COLUMNS, "protocol"])))

    def history(self, variant: Variant, protocol: str) -> pd.DataFrame:
        """The epochs of the runs of one cell of the table."""
        return self.epochs[self.epochs["run"].isin(self.select(variant, protocol)["run"])]

    def values(self, variant: Variant, protocol: str, metric: str = "final_top1_error") -> dict[Hashable, float]:
        """Metric by seed over the finished runs of a cell."""
        runs = self.select(variant, protocol)
        runs = runs[runs["status"] == "finished"]
        return {seed: float(value) for seed, value in zip(runs["seed"], runs[metric], strict=True)}

    def summary(self, variant: Variant, protocol: str, metric: str = "final_top1_error") -> Summary:
        """Mean and spread over seeds."""
        return summarise(self.values(variant, protocol, metric).values())

    def diverged(self, variant: Variant, protocol: str) -> int:
        """Number of runs of a cell that ended with a loss that is not finite."""
        return int((self.select(variant, protocol)["status"] == "diverged").sum())

    def difference(self, variant: Variant, protocol: str, to: Variant, to_protocol: str = "standalone") -> Difference:
        """Final top-1 error of one cell minus that of another over the seeds that both have."""
        return paired_difference(self.values(variant, protocol), self.values(to, to_protocol))

    def trained(self, protocol: str) -> Iterator[Variant]:
        """Variants with a run in the tables: under a protocol, with the usual warm-up."""
        return (variant for variant in self.variants if len(self.select(variant, protocol)))

    def trained_as(self, protocol: str) -> Iterator[Variant]:
        """Variants with a run under a protocol, whatever the warm-up."""
        return (variant for variant in self.variants if len(self.select_all(variant, protocol)))


def cell_anchor(setting: Setting, variant: Variant, protocol: str) -> str:
    """Name of the place in the table of runs where a cell's runs begin."""
    parts = (setting.key, variant.meta_layer, variant.dtype, variant.route, variant.options, protocol)
    return "-".join(("runs", *(re.sub(r"[^0-9A-Za-z]+", "-", part) for part in parts if part)))


def find_settings(results: Results) -> list[Setting]:
    """All settings, those with most runs first."""
    found = []
    for experiment, runs in results.trained.groupby("experiment"):
        configured = configured_setting(str(experiment)) or {}
        present = {text: json.loads(text) for text in runs["setting"].value_counts().index}
        base = configured if configured in present.values() else next(iter(present.values()))
        for text, setting in present.items():
            for options, part in _by_protocol_options(runs[runs["setting"] == text]):
                changes = differences(setting, base) | ({"protocol": options} if options else {})
                found.append(_setting(str(experiment), part, results, changes, differences(setting, configured)))
    return sorted(found, key=lambda setting: (-len(setting.runs), setting.key))


def _by_protocol_options(runs: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    """The runs by how their hybrid protocol was set up, standalone ones with each; named where a layer has several ways."""
    hybrid = runs[runs["protocol"] == "hybrid"]
    if (hybrid.groupby(VARIANT_COLUMNS)["protocol_options"].nunique() < 2).all():
        yield "", runs
        return
    for way in hybrid["protocol_options"].value_counts().index:
        yield way or "as usual", runs[(runs["protocol"] != "hybrid") | (runs["protocol_options"] == way)]


def _setting(
    experiment: str, runs: pd.DataFrame, results: Results, changes: Mapping[str, Any], departures: Mapping[str, Any]
) -> Setting:
    hybrid = runs.loc[runs["protocol"] == "hybrid", "warmup_epochs"].dropna()
    return Setting(
        experiment=experiment,
        backbone=str(runs["backbone"].iloc[0]),
        num_epochs=int(runs["planned_epochs"].iloc[0]),
        runs=runs,
        epochs=results.epochs[results.epochs["run"].isin(runs["run"])],
        warmup_epochs=float(hybrid.mode().iloc[0]) if len(hybrid) else -1,
        changes=changes,
        departures={name: value for name, value in departures.items() if name != DEPENDS_ON_PROCESSES},
        steps=results.steps[results.steps["run"].isin(runs["run"])],
    )
