"""How the report names, orders and draws the meta-layers: from the facts in their registry.

Imports: `metalayers`.
"""

from __future__ import annotations

from dataclasses import dataclass

from gcp_repro.metalayers import META_LAYERS, REFERENCE_LAYER

__all__ = ["LAYERS", "REFERENCE_LAYER", "LayerStyle", "layer_order", "layer_style"]


@dataclass(frozen=True)
class LayerStyle:
    """Name in configurations, name in the paper (empty if it has none), and a colour that is legible on white and on black."""

    name: str
    published: str
    colour: str


LAYERS: dict[str, LayerStyle] = {
    entry.name: LayerStyle(entry.name, entry.published, entry.colour) for entry in META_LAYERS.built_in.values() if entry.colour
}
"""In the order of the paper's tables; average pooling before, the exact gradient after."""
FURTHER_COLOURS = ("#6c7a1f", "#7a6ff0", "#b8566b", "#4f8f8b", "#94703d", "#5c7fa3")


def layer_style(name: str) -> LayerStyle:
    """The style of a layer; one without a colour of its own, registered or not, gets one by its name."""
    entry = META_LAYERS.get(name)
    by_name = FURTHER_COLOURS[sum(map(ord, name)) % len(FURTHER_COLOURS)]
    return LayerStyle(name, entry.published if entry else "", (entry.colour if entry else "") or by_name)


def layer_order(name: str) -> tuple[int, str]:
    """Sorting key: order of the paper, then the alphabet."""
    names = list(LAYERS)
    return (names.index(name) if name in names else len(names), name)
