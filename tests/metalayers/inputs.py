"""What the tests of all layers share."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.metalayers import META_LAYERS

VARIANTS = [
    pytest.param(name, {"route": route} if route else {}, id=f"{name}-{route}" if route else name)
    for name, entry in META_LAYERS.items()
    for route in (("gram", "dense") if "route" in entry.defaults else (None,))
]


def features_of(*shape, seed=0, dtype=torch.float64):
    """Rectified noise, as after a ReLU."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)).relu()


def gradient_of(layer, features, seed=1):
    """Output, and gradient of a random projection of it."""
    features = features.clone().requires_grad_()
    output = layer(features)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed)).to(output.dtype)
    (gradient,) = torch.autograd.grad(output, features, weights)
    return output.detach(), gradient
