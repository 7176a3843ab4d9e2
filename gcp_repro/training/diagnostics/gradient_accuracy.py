"""How wrong each remedy's gradient is during training, measured against the exact one on the same batch."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy

from gcp_repro.metalayers import CovariancePooling, build_meta_layer
from gcp_repro.training.diagnostics.diagnostic import MetaLayerDiagnostic, Sample, child

__all__ = ["GradientAccuracy", "gradient_accuracy"]


class GradientAccuracy(MetaLayerDiagnostic):
    """Gradient of the active meta-layer against the exact gradient of the root.

    Logs `gradient_norm`, the norm of the loss's gradient with respect to the features; and, for layers that compute the
    root or approximate it, `gradient_error` (relative, in the Frobenius norm) and `gradient_cosine` against `svd_lyapunov`
    in float64 on the rank-aware route, for the same features and the same upstream gradient.
    """

    label = "gradient_accuracy"

    def measure(self, network: nn.Module, sample: Sample, learning_rate: float) -> dict[str, float]:
        """See the class."""
        layer, classifier = child(network, "meta_layer"), child(network, "classifier")
        x = sample.features.clone().requires_grad_()
        pooled = layer(x)
        detached = pooled.detach().requires_grad_()
        (upstream,) = torch.autograd.grad(cross_entropy(classifier(detached), sample.labels), detached)
        (gradient,) = torch.autograd.grad(pooled, x, upstream)
        values = {"gradient_norm": gradient.norm().item()}
        if isinstance(layer, CovariancePooling) and layer.approximates_root:
            error, cosine = gradient_accuracy(gradient, sample.features, upstream)
            values |= {"gradient_error": error, "gradient_cosine": cosine}
        return {name: value for name, value in values.items() if math.isfinite(value)}


def gradient_accuracy(gradient: Tensor, features: Tensor, upstream: Tensor) -> tuple[float, float]:
    """Relative error and cosine of a gradient with respect to features, against the exact one of the root.

    Args:
        gradient: As `features`; what a layer made of `upstream`.
        features: `(B, C, H, W)` or `(B, C, N)`.
        upstream: `(B, C (C + 1) / 2)`, gradient with respect to the upper triangle of the root.

    Returns:
        `||gradient - exact|| / ||exact||` and the cosine; not finite where the exact gradient is zero.
    """
    x = features.detach().double().requires_grad_()
    (exact,) = torch.autograd.grad(build_meta_layer("svd_lyapunov")(x), x, upstream.double())
    wide = gradient.double()
    error = (wide - exact).norm() / exact.norm()
    cosine = cosine_similarity(wide.flatten(), exact.flatten(), dim=0, eps=0.0)
    return error.item(), cosine.item()
