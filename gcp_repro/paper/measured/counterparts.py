"""Which published table an experiment stands beside, and the paper's number for each of its cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

from gcp_repro.paper.layers import LAYERS, REFERENCE_LAYER, layer_style
from gcp_repro.paper.published.published_tables import published_table, ranked_cell
from gcp_repro.paper.store.settings import Variant
from gcp_repro.paper.tables.table import MISSING, Cell

__all__ = ["FINE_GRAINED", "Counterpart", "counterpart", "reproducing"]

FINE_GRAINED = ("birds", "dogs", "cars", "aircraft")
"""Data sets that are scored by accuracy; the paper has the first three."""

Slots = Mapping[tuple[str, str], str]
"""Column of the published table by protocol and metric of result.json."""


@dataclass(frozen=True)
class Counterpart:
    """A published table, or the part of one, that an experiment stands beside.

    Attributes:
        number: Of the table.
        setting: The paper's network and data, in words.
        slots: Its columns.
        num_epochs: Length of the paper's training.
        where: Entries of its rows that belong to the experiment.
        departure: In what the runs differ from the paper's experiment; empty if in nothing.
        accuracy: Whether it gives accuracies; else errors.
    """

    number: str
    setting: str
    slots: Slots
    num_epochs: int
    where: Mapping[str, str] = field(default_factory=dict)
    departure: str = ""
    accuracy: bool = False

    @property
    def same(self) -> bool:
        """Whether the experiment is the paper's own."""
        return not self.departure

    @property
    def variants(self) -> list[Variant]:
        """The layers of its rows, as the paper computes them."""
        methods = {row["method"] for row in self.rows}
        layers = (name for name in LAYERS if _method(name, self.number) in methods)
        return [Variant(name, "", "") if name == "gap" else Variant(name, "float64", "dense") for name in layers]

    @property
    def rows(self) -> list[Mapping[str, str]]:
        """Its rows for this experiment."""
        rows = published_table(self.number).rows
        return [row for row in rows if all(row[key] == value for key, value in self.where.items())]

    def cell(self, variant: Variant, protocol: str, metric: str) -> Cell:
        """The published entry, marked among the best three of its column as in the paper.

        Args:
            variant: Its layer decides; see `reproducing` for the variants that may stand beside it.
            protocol: "standalone" or "hybrid".
            metric: As in result.json, "final_top1_error".
        """
        slot = self.slots.get((protocol, metric))
        row = next((row for row in self.rows if row["method"] == _method(variant.meta_layer, self.number)), None)
        if slot is None or row is None:
            return MISSING
        return ranked_cell(self.rows, row, slot, accuracy=self.accuracy)


def reproducing(variants: Sequence[Variant]) -> frozenset[Variant]:
    """The variants that compute what the paper did, one a layer: published numbers stand beside them alone.

    That is float64 on the dense route, whose rounding the paper measured. Newton-Schulz is the same function on every route,
    so it may be another one where the dense route was not trained.

    Example:
        >>> trained = [Variant(*words.split()) for words in ("mpn_cov float64 gram", "isqrt_cov float64 auto")]
        >>> [variant.meta_layer for variant in reproducing(trained)]
        ['isqrt_cov']
    """
    plain = [variant for variant in variants if variant.dtype != "float32" and not variant.options]
    published = {variant.meta_layer: variant for variant in plain if variant.route in ("", "dense")}
    reference = {variant.meta_layer: variant for variant in plain if variant.meta_layer == REFERENCE_LAYER}
    return frozenset((reference | published).values())


def _method(meta_layer: str, number: str) -> str:
    return "Vanilla" if (meta_layer, number) == ("gap", "3") else layer_style(meta_layer).published


TABLE2_SLOTS: Slots = {
    ("standalone", "final_top1_error"): "standalone_final_top1",
    ("standalone", "final_top5_error"): "standalone_final_top5",
    ("hybrid", "final_top1_error"): "hybrid_final_top1",
    ("hybrid", "final_top5_error"): "hybrid_final_top5",
    ("hybrid", "best_top1_error"): "hybrid_best_top1",
    ("hybrid", "best_top5_error"): "hybrid_best_top5",
}
TABLE3_SLOTS: Slots = {
    ("standalone", "final_top1_error"): "standalone_top1",
    ("standalone", "final_top5_error"): "standalone_top5",
    ("hybrid", "final_top1_error"): "hybrid_top1",
    ("hybrid", "final_top5_error"): "hybrid_top5",
}


def _fine_grained(data: str) -> Counterpart:
    printed = data in FINE_GRAINED[:3]
    slots = {("standalone", f"{when}_top1_error"): f"{data}_{when}" for when in ("final", "best")} if printed else {}
    return Counterpart("4", f"ResNet-50, {data.capitalize()}", slots, 50, accuracy=True)


COUNTERPARTS: Mapping[str, Counterpart] = {
    "alexnet_imagenet": Counterpart("2", "AlexNet, ImageNet", TABLE2_SLOTS, 30),
    "resnet50_imagenet": Counterpart("3", "ResNet-50, ImageNet", TABLE3_SLOTS, 60, {"backbone": "ResNet-50"}),
    "resnet101_imagenet": Counterpart("3", "ResNet-101, ImageNet", TABLE3_SLOTS, 60, {"backbone": "ResNet-101"}),
    **{f"resnet50_{data}": _fine_grained(data) for data in FINE_GRAINED},
}


def counterpart(experiment: str, departures: Mapping[str, Any] = MappingProxyType({})) -> Counterpart:
    """The published table beside an experiment: its own, or Table 2 for experiments that the paper does not have.

    Args:
        experiment: As in `gcp-train experiment=...`.
        departures: In what its runs differ from the experiment as configured, which is the paper's.

    Example:
        >>> counterpart("resnet50_birds").number, counterpart("digits").number
        ('4', '2')
        >>> counterpart("alexnet_imagenet", {"schedule.epochs": 1}).departure
        'trained for 30 epochs'
    """
    found = COUNTERPARTS.get(experiment)
    if found is None:
        return replace(COUNTERPARTS["alexnet_imagenet"], departure="of another network on other data")
    if not departures:
        return found
    others = [name for name in departures if not name.startswith("schedule.")]
    words = ([f"trained for {found.num_epochs} epochs"] if "schedule.epochs" in departures else []) + (
        [f"with other values of {', '.join(others)}"] if others else []
    )
    return replace(found, departure=" and ".join(words) or "with another schedule")
