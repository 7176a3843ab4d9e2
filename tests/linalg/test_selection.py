"""The choice of the fastest operator: measured once a shape, in whatever mode the caller is."""

from __future__ import annotations

import contextlib

import pytest
import torch

from gcp_repro.linalg import selection
from gcp_repro.linalg.pooling import operators_for
from gcp_repro.metalayers import build_meta_layer


@pytest.fixture(autouse=True)
def _no_choices():
    selection.clear_choices()
    yield
    selection.clear_choices()


@pytest.fixture
def candidates():
    return list(operators_for(build_meta_layer("svd_lyapunov").spec, 6).values())


def test_measured_once_a_shape(monkeypatch, candidates):
    measured = []
    monkeypatch.setattr(selection, "_seconds", lambda operator, features: measured.append(operator) or -len(measured))
    features = torch.rand(2, 6, 9)
    for _ in range(2):
        assert selection.fastest(candidates, features) is candidates[-1]
    assert measured == candidates
    selection.fastest(candidates, features[:1])
    assert len(measured) == 2 * len(candidates)


def test_a_candidate_without_memory_loses(monkeypatch, candidates):
    def apply(operator, features):
        if operator is not candidates[1]:
            raise torch.OutOfMemoryError
        return features

    monkeypatch.setattr(selection, "apply_operator", apply)
    assert selection.fastest(candidates, torch.rand(2, 6, 9)) is candidates[1]


@pytest.mark.parametrize("mode", [contextlib.nullcontext, torch.no_grad, torch.inference_mode])
def test_real_measurement_in_every_mode(mode, candidates):
    before = torch.get_rng_state()
    with mode():
        assert selection.fastest(candidates, torch.rand(2, 6, 9)[:, :, :4] * torch.nan) in candidates
    torch.rand(2, 6, 9)
    after = torch.get_rng_state()
    torch.set_rng_state(before)
    torch.rand(2, 6, 9)
    torch.rand(2, 6, 9)
    assert torch.equal(torch.get_rng_state(), after)  # nothing but what this test drew


def test_real_measurement_inside_transforms(candidates):
    chosen = []

    def layer(features):
        chosen.append(selection.fastest(candidates, features))
        return features.sum()

    torch.func.vmap(torch.func.grad(layer))(torch.rand(3, 2, 6, 9))
    assert chosen[0] in candidates


def test_nothing_to_measure(candidates):
    assert selection.fastest(candidates, torch.rand(0, 6, 9)) is candidates[0]
    assert selection.fastest(candidates[:1], torch.rand(2, 6, 9)) is candidates[0]
    assert not selection._choices
