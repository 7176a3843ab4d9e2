"""Hybrid runs that differ in the meta-layer alone share the stage before the swap."""

from pathlib import Path

import torch

from gcp_repro.training.initial_stage import InitialStage
from gcp_repro.training.module import GCPModule
from gcp_repro.training.run import train

SWAP_EPOCH = 2


def _trained_epochs(monkeypatch):
    epochs = []
    monkeypatch.setattr(GCPModule, "on_train_epoch_start", lambda self: epochs.append(self.current_epoch), raising=False)
    return epochs


def test_the_second_layer_starts_at_the_swap_and_ends_as_if_it_had_not(compose_tiny, monkeypatch, weights, read_rows):
    hybrid = ["protocol=hybrid", "meta_layer=svd_trunc", "meta_layer.max_gradient=1.0"]
    alone = compose_tiny(*hybrid, "protocol.share_initial_stage=false", runs="alone")
    expected = train(alone)["result"]
    assert InitialStage.of(alone) is None

    train(compose_tiny("protocol=hybrid", "meta_layer=svd_taylor"))
    epochs = _trained_epochs(monkeypatch)
    shared = compose_tiny(*hybrid)
    result = train(shared)["result"]

    assert epochs == [SWAP_EPOCH, SWAP_EPOCH + 1]
    alone_dir, shared_dir = Path(alone.paths.run_dir), Path(shared.paths.run_dir)
    assert alone_dir.name == shared_dir.name  # the same run, however it was made
    assert read_rows(shared_dir / "metrics.csv") == read_rows(alone_dir / "metrics.csv")
    assert [row["meta_layer"] for row in read_rows(shared_dir / "metrics.csv")] == ["isqrt_cov"] * 2 + ["svd_trunc"] * 2
    assert result["final_loss"] == expected["final_loss"]
    for name, value in weights(alone_dir).items():
        assert torch.equal(weights(shared_dir)[name], value), name


def test_what_else_differs_has_a_stage_of_its_own(compose_tiny):
    path = InitialStage.of(compose_tiny("protocol=hybrid", "meta_layer=svd_taylor")).path
    assert path == InitialStage.of(compose_tiny("protocol=hybrid", "meta_layer=svd_pade", "trainer.num_threads=1")).path
    for other in ("seed=1", "optimizer.lr=0.05", "protocol.initial.num_iterations=7", "meta_layer.dtype=float32"):
        assert path != InitialStage.of(compose_tiny("protocol=hybrid", "meta_layer=svd_taylor", other)).path, other
    assert InitialStage.of(compose_tiny("meta_layer=svd_taylor")) is None
