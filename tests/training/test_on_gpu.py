"""Runs on a real GPU, from the configuration to the result. Without one they skip."""

from __future__ import annotations

import json
import math
import subprocess
import sys

import pytest
import torch

from gcp_repro.training.run import train
from tests.tolerances import TIME_LIMIT

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]

HYBRID = ("protocol=hybrid", "meta_layer=svd_pade", "trainer.accelerator=gpu", "callbacks=all")


def result_of(tmp_path, runs="runs"):
    (path,) = (tmp_path / runs).rglob("result.json")
    return json.loads(path.read_text())


def trained(compose_tiny, tmp_path, *options, runs="runs"):
    train(compose_tiny(*HYBRID, *options, runs=runs))
    result = result_of(tmp_path, runs)
    assert result["status"] == "finished", result
    return result


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true"])
def test_every_precision_through_the_swap_with_all_diagnostics(compose_tiny, tmp_path, read_rows, precision):
    trained(compose_tiny, tmp_path, f"trainer.precision={precision}")
    (metrics,) = (tmp_path / "runs" / "digits").glob("*/metrics.csv")
    rows = read_rows(metrics)
    assert len(rows) == 4
    assert all(math.isfinite(float(row["train/loss"])) for row in rows)


@pytest.mark.filterwarnings("ignore:GPU available but not used")
def test_losses_are_those_of_a_cpu(compose_tiny, tmp_path, read_rows):
    """Of the first epoch, four steps: what they are off by is float32 convolutions in another order."""
    trained(compose_tiny, tmp_path)
    train(compose_tiny(*HYBRID, "trainer.accelerator=cpu", runs="cpu"))
    losses = [
        float(read_rows(next((tmp_path / runs / "digits").glob("*/metrics.csv")))[0]["train/loss"]) for runs in ("runs", "cpu")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_a_run_repeats_where_that_is_asked_for(compose_tiny, tmp_path, read_rows):
    rows = []
    for runs in ("first", "second"):
        trained(compose_tiny, tmp_path, "trainer.deterministic=true", runs=runs)
        rows.append(read_rows(next((tmp_path / runs / "digits").glob("*/metrics.csv"))))
    assert rows[0] == rows[1]


@pytest.mark.filterwarnings(
    "ignore:.torch.jit.script:DeprecationWarning", "ignore:TensorFloat32", "ignore:The CUDA Graph is empty"
)
@pytest.mark.parametrize("choice", ["true", "{mode: reduce-overhead}"])
def test_compiled(compose_tiny, tmp_path, choice):
    trained(compose_tiny, tmp_path, f"compile={choice}")


@pytest.mark.parametrize("trainer", ["ddp", "fsdp"])
def test_by_the_strategies_of_several_devices(compose_tiny, tiny_overrides, tmp_path, trainer):
    overrides = [value for value in tiny_overrides if value not in ("trainer.accelerator=cpu", "callbacks=none")]
    command = [
        sys.executable, "-m", "gcp_repro.cli.train", "experiment=digits", *overrides, f"trainer={trainer}", "protocol=hybrid",
        "meta_layer=svd_pade", "trainer.devices=1", f"paths.runs_dir={tmp_path / 'runs'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert result_of(tmp_path)["status"] == "finished"


@pytest.mark.parametrize("where", ["workers", "device"])
def test_images_in_files_through_pinned_batches(compose_train, tmp_path, where):
    options = ("experiment=alexnet_imagenet", "debug=tiny", "meta_layer=svd_pade", "trainer.accelerator=gpu")
    data = (f"data.decode_on={where}", "data.num_workers=2", "data.pin_memory=true")
    train(compose_train(*options, *data, f"paths.runs_dir={tmp_path / 'runs'}"))
    assert result_of(tmp_path)["status"] == "finished"
