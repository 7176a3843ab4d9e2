"""Hybrid runs that differ in the meta-layer alone share the stage before the swap."""

from pathlib import Path

import torch

from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.protocol.initial_stage import InitialStage
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


def test_with_the_default_callbacks_all_layers_of_a_seed_share_one_stage(compose_tiny, monkeypatch, tmp_path):
    """Their hash used to hold the run directory by way of a callback's path, so that nothing was ever shared."""
    options = ["protocol=hybrid", "callbacks=default", "callbacks.condition_number.every_n_steps=1"]
    train(compose_tiny(*options, "meta_layer=svd_taylor"))
    epochs = _trained_epochs(monkeypatch)
    for layer in ("svd_pade", "mpn_cov"):
        train(compose_tiny(*options, f"meta_layer={layer}"))
    assert epochs == 2 * [SWAP_EPOCH, SWAP_EPOCH + 1]
    stages = sorted(path.name for path in (tmp_path / "runs" / ".initial_stages").iterdir())
    assert len(stages) == 2
    assert stages[0] == stages[1].replace(".ckpt", "-best.ckpt")


def test_the_best_weights_of_the_stage_are_those_of_the_runs_that_go_on_from_it(compose_tiny, monkeypatch):
    report = GCPModule._report

    def best_in_the_first_epoch(self, split):
        report(self, split)
        if split == "val":
            self.reports["val/top1_error"] = 10.0 + self.current_epoch

    monkeypatch.setattr(GCPModule, "_report", best_in_the_first_epoch)
    first, second = (compose_tiny("protocol=hybrid", f"meta_layer={layer}") for layer in ("svd_taylor", "svd_pade"))
    for config in (first, second):
        assert train(config)["result"]["best_epoch"] == 0
    best = [torch.load(Path(c.paths.run_dir) / "checkpoints" / "best.ckpt", weights_only=True) for c in (first, second)]
    assert [weights["epoch"] for weights in best] == [0, 0]
    for name, value in best[0]["state_dict"].items():
        if name.startswith("network.") and name.endswith("weight"):
            assert torch.equal(value, best[1]["state_dict"][name]), name


def test_a_stage_that_cannot_be_read_is_set_aside_and_trained_again(compose_tiny, monkeypatch, caplog):
    train(compose_tiny("protocol=hybrid", "meta_layer=svd_taylor"))
    config = compose_tiny("protocol=hybrid", "meta_layer=svd_pade")
    stage = InitialStage.of(config).path
    stage.write_bytes(stage.read_bytes()[:1000])
    epochs = _trained_epochs(monkeypatch)
    train(config)
    assert epochs == [0, 1, 2, 3]
    assert f"{stage} cannot be used: no whole file of torch.save" in caplog.text
    assert stage.with_name(f"{stage.name}.damaged").exists()
    epochs.clear()
    train(compose_tiny("protocol=hybrid", "meta_layer=mpn_cov"))
    assert epochs == [2, 3], "the stage was kept anew"
