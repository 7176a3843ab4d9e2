"""Meta-layers over `gcp_repro.linalg`, and the one registry that configurations name."""

from gcp_repro.metalayers.layers import MetaLayer
from gcp_repro.metalayers.registry import META_LAYERS, MetaLayerEntry, build_meta_layer

__all__ = ["META_LAYERS", "MetaLayer", "MetaLayerEntry", "build_meta_layer"]
