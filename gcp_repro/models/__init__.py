"""Networks: a backbone, a meta-layer and a classifier put together, and covariance pooling in anyone's network.

Imports: `metalayers`, `user_paths`, `weight_files`.
"""

from gcp_repro.models.backbones import BACKBONES, AlexNetBN, ConvStage, NarrowAlexNet, build_backbone
from gcp_repro.models.classifier import GCPClassifier
from gcp_repro.models.drop_in import cut, replace_pooling
from gcp_repro.models.feature_format import FeatureFormat
from gcp_repro.models.heads import HEADS, LowRankBilinear
from gcp_repro.models.timm_backbone import TimmBackbone
from gcp_repro.models.torchvision_backbone import TorchvisionBackbone
from gcp_repro.models.transformers_backbone import TransformersBackbone

__all__ = [
    "BACKBONES",
    "HEADS",
    "AlexNetBN",
    "ConvStage",
    "FeatureFormat",
    "GCPClassifier",
    "LowRankBilinear",
    "NarrowAlexNet",
    "TimmBackbone",
    "TorchvisionBackbone",
    "TransformersBackbone",
    "build_backbone",
    "cut",
    "replace_pooling",
]
