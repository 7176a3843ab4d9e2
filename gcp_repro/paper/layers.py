"""How the report names, orders and draws the meta-layers."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["LAYERS", "REFERENCE_LAYER", "LayerStyle", "layer_order", "layer_style"]

REFERENCE_LAYER = "isqrt_cov"
"""The layer with which all others are compared, as in the paper."""


@dataclass(frozen=True)
class LayerStyle:
    """Name in configurations, name in the paper (empty if it has none), and a colour that is legible on white and on black."""

    name: str
    published: str
    colour: str


LAYERS: dict[str, LayerStyle] = {
    style.name: style
    for style in (
        LayerStyle("gap", "", "#8a8a8a"),
        LayerStyle("isqrt_cov", "iSQRT-COV", "#0a7fd0"),
        LayerStyle("svd_pade", "SVD-Pade", "#d9480f"),
        LayerStyle("svd_taylor", "SVD-Taylor", "#2b9a50"),
        LayerStyle("svd_newton", "SVD-Newton", "#a855c8"),
        LayerStyle("svd_trunc", "SVD-Trunc", "#c49102"),
        LayerStyle("svd_topn", "SVD-TopN", "#a0522d"),
        LayerStyle("mpn_cov", "MPN-COV", "#e0457b"),
        LayerStyle("svd_lyapunov", "", "#159a9c"),
    )
}
"""In the order of the paper's tables; average pooling before, the exact gradient after."""
FURTHER_COLOURS = ("#6c7a1f", "#7a6ff0", "#b8566b", "#4f8f8b", "#94703d", "#5c7fa3")


def layer_style(name: str) -> LayerStyle:
    """The style of a layer; one that the paper does not have gets a colour by its name."""
    if name in LAYERS:
        return LAYERS[name]
    return LayerStyle(name, "", FURTHER_COLOURS[sum(map(ord, name)) % len(FURTHER_COLOURS)])


def layer_order(name: str) -> tuple[int, str]:
    """Sorting key: order of the paper, then the alphabet."""
    names = list(LAYERS)
    return (names.index(name) if name in names else len(names), name)
