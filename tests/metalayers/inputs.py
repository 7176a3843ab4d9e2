"""What the tests of all layers share."""

from __future__ import annotations

import pytest
import torch

from gcp_repro.linalg import covariance
from gcp_repro.metalayers import META_LAYERS, build_meta_layer

VARIANTS = [
    pytest.param(name, {"route": route} if route else {}, id=f"{name}-{route}" if route else name)
    for name, entry in META_LAYERS.items()
    for route in (("gram", "dense") if "route" in entry.defaults else (None,))
]

PRECISE = [
    pytest.param("svd_pade", {"dtype": "mixed"}, id="svd_pade-mixed"),
    pytest.param("svd_lyapunov", {"accuracy": "high"}, id="svd_lyapunov-high"),
    pytest.param("g2denet", {"dtype": "mixed", "accuracy": "high"}, id="g2denet-mixed-high"),
    pytest.param("svd_newton", {"dtype": "float32"}, id="svd_newton-float32"),
]


SMALLER = {"cbp": {"projection_dim": 64}}
"""Options of layers whose Jacobian at the default options has thousands of rows."""


def build(name, **options):
    """A layer in evaluation, where none draws random numbers."""
    return build_meta_layer(name, **options).eval()


def features_of(*shape, seed=0, dtype=torch.float64):
    """Rectified noise, as after a ReLU."""
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed)).relu()


def condition_of(features):
    """Of gradients through eigenvalues: the largest over the smallest positive one, or the smallest gap, of all images; 40 times.

    40, because of the rules' quotients the worst conditioned is pade's: 27 over the gap (docs/mathematics.md, section 1).
    """
    worst = 1.0
    for image in features.double().flatten(2):
        values = torch.linalg.eigvalsh(covariance(image))
        values = values[values > 1e-10 * values[-1]]
        if len(values):
            worst = max(worst, (values[-1] / torch.cat([values[:1], values.diff()]).min()).item())
    return 40 * worst


def gradient_of(layer, features, seed=1):
    """Output, and gradient of a random projection of it."""
    features = features.clone().requires_grad_()
    output = layer(features)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed)).to(output.dtype)
    (gradient,) = torch.autograd.grad(output, features, weights)
    return output.detach(), gradient
