"""Runs that are stopped and started again end as if nothing had happened."""

import signal
from pathlib import Path

import pytest
import torch

from gcp_repro.runs import read_json
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.run import train

HYBRID = ["protocol=hybrid", "meta_layer=svd_trunc", "meta_layer.max_gradient=1.0"]  # a gradient far from Newton-Schulz's
SWAP_EPOCH, LAST_BATCH, LAST_EPOCH = 2, 3, 3


@pytest.fixture(autouse=True)
def _signals_are_given_back():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def stop_at(monkeypatch, epoch, batch):
    """Send SIGTERM while a batch is trained."""

    def on_train_batch_start(self, _, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch):
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(GCPModule, "on_train_batch_start", on_train_batch_start)


@pytest.fixture
def uninterrupted(compose_tiny):
    config = compose_tiny(*HYBRID, runs="uninterrupted")
    train(config)
    return Path(config.paths.run_dir)


@pytest.mark.parametrize(
    ("epoch", "batch", "saved_epoch"),
    [
        pytest.param(0, 1, 0, id="in mid-epoch before the swap"),
        pytest.param(SWAP_EPOCH - 1, LAST_BATCH, SWAP_EPOCH - 1, id="right before the swap"),
        pytest.param(SWAP_EPOCH, 0, SWAP_EPOCH, id="after the first batch of the swap epoch"),
        pytest.param(SWAP_EPOCH, LAST_BATCH, SWAP_EPOCH, id="after the swap epoch"),
        pytest.param(3, 2, 3, id="in the last epoch"),
    ],
)
def test_resuming_is_exact(compose_tiny, uninterrupted, monkeypatch, read_rows, weights, epoch, batch, saved_epoch):
    config = compose_tiny(*HYBRID)
    run_dir = Path(config.paths.run_dir)
    with monkeypatch.context() as patch:
        stop_at(patch, epoch, batch)
        with pytest.raises(TrainingInterrupted, match="SIGTERM; run the same command again") as stop:
            train(config)
    assert stop.value.exit_code == 143
    assert not (run_dir / "result.json").exists()
    assert torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == saved_epoch

    result = train(config)["result"]

    assert result["swap_epoch"] == SWAP_EPOCH
    assert read_rows(run_dir / "metrics.csv") == read_rows(uninterrupted / "metrics.csv")
    for name, expected in weights(uninterrupted).items():
        torch.testing.assert_close(weights(run_dir)[name], expected, rtol=0, atol=0, msg=name)


def test_dropped_channels_are_those_of_the_run_that_was_not_stopped(compose_tiny, monkeypatch, read_rows, weights):
    """The layer's own random state is in the checkpoint."""
    options = ["meta_layer=dropcov", "meta_layer.dropout=0.5"]
    whole, config = compose_tiny(*options, runs="uninterrupted"), compose_tiny(*options)
    train(whole)
    with monkeypatch.context() as patch:
        stop_at(patch, 1, 1)
        with pytest.raises(TrainingInterrupted):
            train(config)
    train(config)
    run_dir, uninterrupted = Path(config.paths.run_dir), Path(whole.paths.run_dir)
    assert read_rows(run_dir / "metrics.csv") == read_rows(uninterrupted / "metrics.csv")
    found, expected = weights(run_dir), weights(uninterrupted)
    batches = [value for name, value in expected.items() if name.endswith("dropout._extra_state")]
    assert batches[0][1] == 4 * (LAST_EPOCH + 1)
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=0, msg=name)


@pytest.mark.parametrize(("epoch", "saved_epoch"), [(0, 0), (SWAP_EPOCH - 1, SWAP_EPOCH - 1), (LAST_EPOCH, LAST_EPOCH)])
@pytest.mark.parametrize("batch", [0, 1])
def test_resuming_in_validation_is_exact(compose_tiny, monkeypatch, read_rows, weights, epoch, batch, saved_epoch):
    """Also in the last validation of all: a run that is asked to stop does not go on to its end."""
    options = [*HYBRID, "trainer.limit_val_batches=3"]
    whole, config = compose_tiny(*options, runs="whole"), compose_tiny(*options)
    train(whole)
    run_dir, whole_dir = Path(config.paths.run_dir), Path(whole.paths.run_dir)

    def on_validation_batch_start(self, _, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch):
            signal.raise_signal(signal.SIGTERM)

    evaluated = []
    with monkeypatch.context() as patch:
        patch.setattr(GCPModule, "on_validation_batch_start", on_validation_batch_start)
        patch.setattr(GCPModule, "on_validation_batch_end", lambda self, *_: evaluated.append(self.current_epoch))
        with pytest.raises(TrainingInterrupted, match="SIGTERM"):
            train(config)
    assert evaluated.count(epoch) <= batch + 1
    saved = torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["epoch"] == saved_epoch
    assert not (run_dir / "result.json").exists()

    result = train(config)["result"]

    assert read_rows(run_dir / "metrics.csv") == read_rows(whole_dir / "metrics.csv")
    assert result["final_loss"] == read_json(whole_dir / "result.json")["final_loss"]
    for name, expected in weights(whole_dir).items():
        assert torch.equal(weights(run_dir)[name], expected), name
    best = torch.load(run_dir / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == result["best_epoch"]


def test_a_signal_in_the_last_moment_ends_the_command_after_the_result_is_written(compose_tiny, monkeypatch):
    """So that a sweep stops there."""
    config = compose_tiny()
    monkeypatch.setattr(GCPModule, "on_fit_end", lambda self: signal.raise_signal(signal.SIGTERM), raising=False)
    with pytest.raises(TrainingInterrupted, match="SIGTERM"):
        train(config)
    assert read_json(Path(config.paths.run_dir) / "result.json")["status"] == "finished"


def test_a_signal_before_training_stops_at_once(compose_tiny, monkeypatch):
    config = compose_tiny()
    monkeypatch.setattr(GCPModule, "setup", lambda self, stage: signal.raise_signal(signal.SIGTERM), raising=False)
    monkeypatch.setattr(GCPModule, "training_step", lambda *_: pytest.fail("trained"))
    with pytest.raises(TrainingInterrupted, match="SIGTERM") as stop:
        train(config)
    assert stop.value.exit_code == 143


@pytest.mark.parametrize(
    ("limit", "epoch"), [("+trainer.max_steps=5", 1), ("trainer.max_time=00:00:00:00", 0), ("+trainer.max_time={hours: 0}", 0)]
)
def test_limits_of_steps_and_time_interrupt_a_run_and_are_no_part_of_it(compose_tiny, read_rows, weights, limit, epoch):
    whole = compose_tiny(runs="whole")
    train(whole)
    limited = compose_tiny(limit.replace("+trainer.max_time", "trainer.max_time"))
    run_dir = Path(limited.paths.run_dir)
    with pytest.raises(TrainingInterrupted, match=r"stopped by trainer\.max_(steps|time); run the same command again") as stop:
        train(limited)
    assert stop.value.exit_code == 75
    assert not (run_dir / "result.json").exists()
    if epoch:
        assert torch.load(run_dir / "checkpoints" / "last.ckpt", weights_only=True)["global_step"] == 5
    train(compose_tiny())
    assert read_rows(run_dir / "metrics.csv") == read_rows(Path(whole.paths.run_dir) / "metrics.csv")
    for name, expected in weights(Path(whole.paths.run_dir)).items():
        assert torch.equal(weights(run_dir)[name], expected), name


def test_the_swap_changes_the_training(compose_tiny, uninterrupted, weights, read_rows):
    """Without this the tests above could not fail."""
    standalone = compose_tiny("meta_layer=isqrt_cov")
    train(standalone)
    run_dir = Path(standalone.paths.run_dir)
    before = slice(0, SWAP_EPOCH)
    assert read_rows(run_dir / "metrics.csv")[before] == read_rows(uninterrupted / "metrics.csv")[before]
    name = next(key for key in weights(run_dir) if key.startswith("network.backbone") and key.endswith("weight"))
    assert not torch.equal(weights(run_dir)[name], weights(uninterrupted)[name])


def test_layers_are_recorded_by_epoch(uninterrupted, read_rows):
    rows = read_rows(uninterrupted / "metrics.csv")
    assert [row["meta_layer"] for row in rows] == ["isqrt_cov", "isqrt_cov", "svd_trunc", "svd_trunc"]
    assert [float(row["learning_rate"]) for row in rows] == pytest.approx([0.1, 0.1, 0.01, 0.001])


def test_a_second_interrupt_stops_at_once_and_loses_no_epoch(compose_tiny, uninterrupted, monkeypatch, read_rows, weights):
    config = compose_tiny(*HYBRID)
    run_dir = Path(config.paths.run_dir)

    def on_train_batch_start(self, _, batch_idx):
        if (self.current_epoch, batch_idx) == (2, 1):
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(GCPModule, "on_train_batch_start", on_train_batch_start)
        with pytest.raises(TrainingInterrupted, match="SIGINT") as stop:
            train(config)
    assert stop.value.exit_code == 130
    train(config)
    assert read_rows(run_dir / "metrics.csv") == read_rows(uninterrupted / "metrics.csv")


def test_a_finished_run_is_skipped(compose_tiny, monkeypatch, caplog):
    config = compose_tiny("schedule.epochs=1", "schedule.milestones=[]")
    first = train(config)["result"]
    monkeypatch.setattr(GCPModule, "training_step", None)
    with caplog.at_level("INFO"):
        again = train(config)
    assert again["result"] == first
    assert "already finished, skipped" in caplog.text


def test_a_run_whose_result_is_missing_is_completed_without_training(compose_tiny, monkeypatch):
    config = compose_tiny("schedule.epochs=2", "schedule.milestones=[1]")
    first = train(config)["result"]
    (Path(config.paths.run_dir) / "result.json").unlink()
    monkeypatch.setattr(GCPModule, "training_step", lambda *_: pytest.fail("trained again"))
    again = train(config)["result"]
    assert again == first
