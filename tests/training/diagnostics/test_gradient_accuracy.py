"""The gradient of a meta-layer against the exact one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gcp_repro.metalayers import build_meta_layer
from gcp_repro.training.diagnostics.diagnostic import Sample
from gcp_repro.training.diagnostics.gradient_accuracy import GradientAccuracy, gradient_accuracy
from tests.metalayers.inputs import condition_of
from tests.tolerances import rounding


def _features():
    return torch.randn(3, 6, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def _measure(name, **options):
    network = nn.Module()
    network.meta_layer = build_meta_layer(name, **options)
    generator = torch.Generator().manual_seed(1)
    network.classifier = nn.Linear(network.meta_layer.output_dim(6), 4, dtype=torch.float64)
    network.classifier.weight.data = torch.randn(network.classifier.weight.shape, dtype=torch.float64, generator=generator)
    return GradientAccuracy().measure(network, Sample(torch.empty(3, 0), _features(), torch.tensor([0, 1, 2])), 0.1)


def test_the_exact_layer_has_no_error_and_the_others_what_they_promise():
    exact = _measure("svd_lyapunov")
    tolerance = rounding(16, condition_of(_features()))
    assert exact["gradient_error"] < tolerance
    assert exact["gradient_cosine"] == pytest.approx(1, abs=tolerance)
    assert _measure("mpn_cov")["gradient_error"] < tolerance
    coarse, fine = (_measure("svd_taylor", degree=degree)["gradient_error"] for degree in (1, 200))
    assert coarse > 1e-2 > fine
    assert _measure("isqrt_cov", num_iterations=1)["gradient_error"] > _measure("isqrt_cov", num_iterations=20)["gradient_error"]


def test_relative_error_and_cosine_by_hand():
    features = _features()
    upstream = torch.randn(3, 21, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x = features.clone().requires_grad_()
    (exact,) = torch.autograd.grad(build_meta_layer("svd_lyapunov")(x), x, upstream)
    error, cosine = gradient_accuracy(-3 * exact, features, upstream)
    assert error == pytest.approx(4)
    assert cosine == pytest.approx(-1)
    assert not math.isfinite(gradient_accuracy(exact, torch.zeros_like(features), upstream)[0])


def test_layers_that_are_no_root_have_a_norm_only():
    assert set(_measure("gap")) == set(_measure("deep_o2p")) == {"gradient_norm"}
