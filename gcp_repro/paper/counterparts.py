"""Which published table an experiment stands beside, and the paper's number for each of its cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gcp_repro.paper.layers import layer_style
from gcp_repro.paper.published_tables import published_table
from gcp_repro.paper.settings import Variant
from gcp_repro.paper.tables import MISSING, Cell, label, number_text

__all__ = ["FINE_GRAINED", "Counterpart", "counterpart"]

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
        where: Entries of its rows that belong to the experiment.
        same: Whether the experiment is the paper's own, not another network on other data.
        accuracy: Whether it gives accuracies; else errors.
    """

    number: str
    setting: str
    slots: Slots
    where: Mapping[str, str] = field(default_factory=dict)
    same: bool = True
    accuracy: bool = False

    @property
    def rows(self) -> list[Mapping[str, str]]:
        """Its rows for this experiment."""
        rows = published_table(self.number).rows
        return [row for row in rows if all(row[key] == value for key, value in self.where.items())]

    def cell(self, variant: Variant, protocol: str, metric: str) -> Cell:
        """The published entry, marked among the best three of its column as in the paper.

        Args:
            variant: Float32 has no entries.
            protocol: "standalone" or "hybrid".
            metric: As in result.json, "final_top1_error".
        """
        slot = self.slots.get((protocol, metric))
        row = next((row for row in self.rows if row["method"] == _method(variant, self.number)), None)
        if slot is None or row is None or variant.dtype == "float32" or variant.options:
            return MISSING
        value = number_text(row[slot])
        if value is None:  # "does not converge"
            return label(row[slot])
        others = {number for candidate in self.rows if (number := number_text(candidate[slot])) is not None}
        better = sum(other > value if self.accuracy else other < value for other in others)
        return Cell(row[slot], value, "published", place=better + 1 if better < 3 else None)


def _method(variant: Variant, number: str) -> str:
    vanilla = "Vanilla" if number == "3" else None
    return (vanilla if variant.meta_layer == "gap" else None) or layer_style(variant.meta_layer).published


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
    return Counterpart("4", f"ResNet-50, {data.capitalize()}", slots, accuracy=True)


COUNTERPARTS: Mapping[str, Counterpart] = {
    "alexnet_imagenet": Counterpart("2", "AlexNet, ImageNet", TABLE2_SLOTS),
    "resnet50_imagenet": Counterpart("3", "ResNet-50, ImageNet", TABLE3_SLOTS, {"backbone": "ResNet-50"}),
    "resnet101_imagenet": Counterpart("3", "ResNet-101, ImageNet", TABLE3_SLOTS, {"backbone": "ResNet-101"}),
    **{f"resnet50_{data}": _fine_grained(data) for data in FINE_GRAINED},
}


def counterpart(experiment: str) -> Counterpart:
    """The published table beside an experiment: its own, or Table 2 for experiments that the paper does not have.

    Example:
        >>> counterpart("resnet50_birds").number, counterpart("digits").number
        ('4', '2')
    """
    return COUNTERPARTS.get(experiment) or Counterpart("2", "AlexNet, ImageNet", TABLE2_SLOTS, same=False)
