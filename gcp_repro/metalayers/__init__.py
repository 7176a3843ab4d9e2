"""Meta-layers: `nn.Module`s over `gcp_repro.linalg`, and the one registry that configurations name.

Imports: `linalg`; of others `numpy`, `torch`.
"""

from gcp_repro.metalayers.base import MetaLayer
from gcp_repro.metalayers.covariance_pooling import CovariancePooling
from gcp_repro.metalayers.extra_state import is_extra_state
from gcp_repro.metalayers.registry import (
    COMMON_OPTIONS,
    META_LAYERS,
    REFERENCE_LAYER,
    MetaLayerEntry,
    build_meta_layer,
    register_meta_layer,
)

__all__ = [
    "COMMON_OPTIONS",
    "META_LAYERS",
    "REFERENCE_LAYER",
    "CovariancePooling",
    "MetaLayer",
    "MetaLayerEntry",
    "build_meta_layer",
    "is_extra_state",
    "register_meta_layer",
]
