"""Networks: a backbone, a meta-layer and a classifier put together."""

from gcp_repro.models.backbones import BACKBONES, AlexNetBN, ConvStage, NarrowAlexNet, build_backbone
from gcp_repro.models.classifier import GCPClassifier
from gcp_repro.models.timm_backbone import TimmBackbone

__all__ = [
    "BACKBONES",
    "AlexNetBN",
    "ConvStage",
    "GCPClassifier",
    "NarrowAlexNet",
    "TimmBackbone",
    "build_backbone",
]
