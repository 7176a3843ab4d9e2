"""Small networks of other libraries, and what a cut network has to keep."""

from __future__ import annotations

import timm
import torch
from torch import nn

SMALL_SWIN = {"img_size": 32, "depths": (1, 1, 1, 1), "embed_dim": 16, "num_heads": (1, 1, 2, 2)}

SMALL_TIMM = [
    # name, options, layout, tokens in front of the image's, class tokens among them, norm moved in front of the pooling
    ("test_resnet", {}, "nchw", 0, 0, False),
    ("test_efficientnet", {}, "nchw", 0, 0, False),
    ("test_convnext", {}, "nchw", 0, 0, True),
    ("test_nfnet", {}, "nchw", 0, 0, False),
    ("test_mambaout", {}, "nhwc", 0, 0, True),
    ("test_vit", {}, "tokens", 1, 1, False),
    ("test_vit", {"reg_tokens": 2, "global_pool": "avg"}, "tokens", 3, 1, True),
    ("test_vit", {"reg_tokens": 2, "class_token": False, "global_pool": "avg"}, "tokens", 2, 0, True),
    ("test_vit_relpos", {}, "tokens", 0, 0, True),
    ("deit_tiny_distilled_patch16_224", {"img_size": 64, "embed_dim": 48, "depth": 1, "num_heads": 3}, "tokens", 2, 2, False),
    ("swin_tiny_patch4_window7_224", SMALL_SWIN, "nhwc", 0, 0, False),
]


def small_timm(name, options, **more):
    torch.manual_seed(0)
    return timm.create_model(name, **{"num_classes": 5, **options, **more}).eval()


def images_for(network, batch=2):
    size = next((m.img_size for m in (network, *network.children()) if isinstance(getattr(m, "img_size", None), tuple)), (64, 64))
    return torch.randn(batch, 3, *size, generator=torch.Generator().manual_seed(0))


def untrained(network: nn.Module, images: torch.Tensor) -> list[str]:
    """Names of parameters that a step of training would leave without a gradient."""
    network.train()(images).square().sum().backward()
    return [name for name, parameter in network.named_parameters() if parameter.grad is None]
