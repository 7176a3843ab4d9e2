import csv
import json
import time
from pathlib import Path

import torch

from gcp_repro.runs.files import read_json
from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.run import train


def test_a_run_leaves_its_record(compose_tiny):
    config = compose_tiny("meta_layer=svd_topn", "protocol=hybrid", "seed=3")
    start = time.perf_counter()
    result = train(config)["result"]
    elapsed = time.perf_counter() - start
    run_dir = Path(config.paths.run_dir)
    assert json.loads((run_dir / "result.json").read_text()) == result
    assert {path.name for path in (run_dir / "checkpoints").iterdir()} == {
        "last.ckpt",
        "best.ckpt",
        "previous-last.ckpt",
        "previous-best.ckpt",
    }
    assert "name: svd_topn" in (run_dir / "config.yaml").read_text()
    assert "${" not in (run_dir / "config.yaml").read_text()

    rows = list(csv.DictReader((run_dir / "metrics.csv").read_text().splitlines()))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    errors = [float(row["val/top1_error"]) for row in rows]
    best = errors.index(min(errors))
    expected = {
        "schema": 2,
        "status": "finished",
        "experiment": "digits",
        "data": "digits",
        "meta_layer": "svd_topn",
        "route": "auto",
        "dtype": "float64",
        "protocol": "hybrid",
        "warmup_epochs": 1,
        "swap_epoch": 2,
        "seed": 3,
        "epochs": 4,
        "final_top1_error": errors[-1],
        "final_top5_error": float(rows[-1]["val/top5_error"]),
        "final_loss": float(rows[-1]["val/loss"]),
        "best_top1_error": errors[best],
        "best_top5_error": float(rows[best]["val/top5_error"]),
        "best_epoch": best,
        "device": "cpu",
    }
    assert {key: result[key] for key in expected} == expected
    assert "message" not in result
    in_epochs = sum(float(row["seconds"]) for row in rows)
    rounded = 0.0005 * (len(rows) + 1)  # every time is written to milliseconds
    assert 0 < in_epochs - rounded <= result["wall_time_seconds"] <= elapsed + rounded  # what follows an epoch counts as well
    assert result["samples_per_second"] > 0
    assert run_dir.name == f"svd_topn-float64-auto-hybrid-seed3-{result['config_hash']}"
    assert result["versions"]["torch"] == torch.__version__.split("+")[0]


def test_the_best_checkpoint_is_that_of_the_best_epoch(compose_tiny):
    config = compose_tiny()
    result = train(config)["result"]
    best = torch.load(Path(config.paths.run_dir) / "checkpoints" / "best.ckpt", weights_only=True)
    assert best["epoch"] == result["best_epoch"]


def test_a_diverged_run_is_recorded_and_not_raised(compose_tiny, monkeypatch, caplog):
    """From the second epoch on the network gives NaN."""

    def on_train_epoch_start(self):
        if self.current_epoch == 1:
            with torch.no_grad():
                next(self.network.classifier.parameters()).fill_(torch.nan)

    monkeypatch.setattr(GCPModule, "on_train_epoch_start", on_train_epoch_start)
    config = compose_tiny()
    with caplog.at_level("INFO"):
        result = train(config)["result"]
    assert (result["status"], result["epochs"]) == ("diverged", 1)
    assert "stopped being finite in epoch 1, batch 0, with isqrt_cov (logits)" in result["message"]
    assert [result[f"diverged_{name}"] for name in ("epoch", "batch", "cause")] == [1, 0, "logits"]
    assert result["final_top1_error"] is None
    assert result["best_epoch"] == 0
    assert read_json(Path(config.paths.run_dir) / "result.json") == result
    assert "diverged in epoch 1, batch 0: logits not finite" in caplog.text
    assert train(config) == {"result": result}


def test_features_that_are_not_finite_end_a_run_the_same_way(compose_tiny, monkeypatch):
    def on_train_epoch_start(self):
        with torch.no_grad():
            next(self.network.backbone.parameters()).fill_(torch.inf)

    monkeypatch.setattr(GCPModule, "on_train_epoch_start", on_train_epoch_start)
    result = train(compose_tiny("meta_layer=svd_pade"))["result"]
    assert (result["status"], result["epochs"], result["best_top1_error"]) == ("diverged", 0, None)


def test_equal_seeds_give_equal_runs(compose_tiny, weights, read_rows):
    runs = [compose_tiny("seed=5", runs="a"), compose_tiny("seed=5", runs="b"), compose_tiny("seed=6", runs="a")]
    for config in runs:
        train(config)
    first, second, other = (Path(config.paths.run_dir) for config in runs)
    assert read_rows(first / "metrics.csv") == read_rows(second / "metrics.csv") != read_rows(other / "metrics.csv")
    assert all(torch.equal(value, weights(second)[name]) for name, value in weights(first).items())
