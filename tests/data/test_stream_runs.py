"""Whole runs over streams: two processes that share the shards, and runs that are stopped in mid-epoch."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.run import train
from tests.fakes import recorded_fit
from tests.fakes.shards import SIZES, copies, write_shards
from tests.tolerances import TIME_LIMIT

TOTAL = sum(SIZES)


@pytest.mark.slow
def test_two_processes_see_every_sample_once_an_epoch_and_resume_in_mid_epoch(tmp_path):
    urls = write_shards(tmp_path / "shards", "parquet")
    copies(urls)  # before two processes ask for them
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(tmp_path / "cache")}
    fit = subprocess.run(
        [sys.executable, "-m", recorded_fit.__name__, "parquet", tmp_path, *urls],
        env=environment, timeout=TIME_LIMIT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert fit.returncode == 0, fit.stdout
    records = [json.loads((tmp_path / f"rank-{rank}.json").read_text()) for rank in (0, 1)]
    for epoch in range(recorded_fit.EPOCHS):
        shares = [[batch for at, batch in record["whole"]["trained"] if at == epoch] for record in records]
        assert sorted(label for share in shares for batch in share for label, _ in batch) == list(range(TOTAL))
        assert len(shares[0]) == len(shares[1]) == 6
        shares = [[batch for at, batch in record["whole"]["evaluated"] if at == epoch] for record in records]
        assert sorted(label for share in shares for batch in share for label in batch) == list(range(TOTAL))
    for record in records:
        stopped, resumed = record["stopped"]["trained"], record["resumed"]["trained"]
        assert len(stopped) == recorded_fit.STOP_AT
        assert stopped + resumed == record["whole"]["trained"]
        assert record["resumed"]["evaluated"] == record["whole"]["evaluated"]


def test_a_run_stopped_in_mid_epoch_ends_as_if_nothing_had_happened(compose_train, monkeypatch, tmp_path, read_rows, weights):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    urls = write_shards(tmp_path / "shards", "webdataset")
    (val_url,) = copies(urls[1:2])

    def config(runs, workers):
        return compose_train(
            "experiment=fashion_mnist", "data=imagenet_stream", "model=digits", "callbacks=none",
            f"data.train_urls=[{','.join(urls)}]", f"data.val_urls=[{val_url}]", "data.num_classes=22", "data.allow_partial=true",
            "data.image_size=24", "data.batch_size=4", f"data.num_workers={workers}",
            "schedule.epochs=2", "schedule.milestones=[1]", "trainer.accelerator=cpu", f"paths.runs_dir={tmp_path / runs}",
        )  # fmt: skip

    def on_train_batch_start(self, _, batch_idx):
        if (self.current_epoch, batch_idx) == (1, 3):
            signal.raise_signal(signal.SIGTERM)

    uninterrupted, interrupted = config("whole", 0), config("stopped", 1)
    result = train(uninterrupted)["result"]
    with monkeypatch.context() as patch:
        patch.setattr(GCPModule, "on_train_batch_start", on_train_batch_start)
        with pytest.raises(TrainingInterrupted):
            train(interrupted)
    train(config("stopped", 2))
    assert (result["train_images"], result["val_images"]) == (TOTAL, 1)
    whole, stopped = (Path(run.paths.run_dir) for run in (uninterrupted, interrupted))
    assert read_rows(stopped / "metrics.csv") == read_rows(whole / "metrics.csv")
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(stopped).items())
