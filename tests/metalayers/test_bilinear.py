"""Compact bilinear pooling: what its hash functions have to be; its value for given ones is in `test_values.py`."""

from __future__ import annotations

import torch

from gcp_repro.metalayers import build_meta_layer

SEEDS = range(200)


def _sketch(features, seed, projection_dim):
    """The sketch of norm 1, before the signed root of its entries."""
    output = build_meta_layer("cbp", projection_dim=projection_dim, seed=seed)(features)
    return torch.nn.functional.normalize(output * output.abs(), dim=1)


def test_inner_products_of_sketches_estimate_the_bilinear_kernel_without_bias():
    """`<x x^T, y y^T> = <x, y>^2`, the mean over hash functions; one without signs adds `(sum x)^2 (sum y)^2 / D`."""
    x = torch.tensor([[3.0, 1.0, 2.0, 0.5], [1.0, 2.0, 0.0, 2.0], [2.0, -1.0, -2.0, 2.0]], dtype=torch.float64)
    x = torch.nn.functional.normalize(x, dim=1)
    products = torch.stack([(s := _sketch(x.unsqueeze(-1), seed, 64)) @ s.T for seed in SEEDS])
    deviation = products.std(0) / len(SEEDS) ** 0.5
    error = (products.mean(0) - (x @ x.T).square()).abs()
    # norms of sketches differ from 1 by some 1/sqrt(D), which dividing by them turns into a bias of the order 1/D
    assert (error <= 4 * deviation + 1 / 64).all()
    assert (deviation + 1 / 64 < 0.03).all()


def test_hashes_are_those_of_the_seed_and_differ_between_the_two_sketches():
    places, signs = build_meta_layer("cbp", projection_dim=1000).hashes(500, torch.device("cpu"))
    again, _ = build_meta_layer("cbp", projection_dim=1000).hashes(500, torch.device("cpu"))
    other, _ = build_meta_layer("cbp", projection_dim=1000, seed=1).hashes(500, torch.device("cpu"))
    assert torch.equal(places, again)
    assert (places == other).double().mean() < 0.02  # 1 in 1000 by chance
    assert (places[0] == places[1]).double().mean() < 0.02
    assert set(signs.unique().tolist()) == {-1, 1}
    assert signs.double().mean(1).abs().max() < 5 / 500**0.5
    assert places.min() >= 0
    assert places.max() < 1000
    assert len(places.unique()) > 550  # of 1000 draws from 1000 places, 632 are expected to differ


def test_hashes_leave_the_global_generators_alone(generator_states):
    before = generator_states()
    build_meta_layer("cbp", projection_dim=37, seed=11)(torch.ones(1, 13, 2))
    assert generator_states() == before


def test_hashes_are_made_once():
    """They are not copied to a device in every pass, which waits for it and which a CUDA graph does not record."""
    layer = build_meta_layer("cbp", projection_dim=37, seed=11)
    for first, second in zip(layer.hashes(13, torch.device("cpu")), layer.hashes(13, torch.device("cpu")), strict=True):
        assert first is second
