import re

import pytest

from gcp_repro.training.rundir import config_hash, run_name


def test_the_directory_tells_what_is_in_it(compose_train):
    config = compose_train("meta_layer=svd_pade", "meta_layer.route=dense", "protocol=hybrid", "paths.runs_dir=/runs")
    assert re.fullmatch(r"/runs/digits/svd_pade-float64-dense-hybrid-seed0-[0-9a-f]{8}", config.paths.run_dir)
    assert re.fullmatch(r"gap-standalone-seed2-[0-9a-f]{8}", run_name(compose_train("meta_layer=gap", "seed=2")))


def test_runs_go_where_the_environment_says(compose_train, monkeypatch):
    assert compose_train().paths.run_dir.startswith("runs/digits/")
    monkeypatch.setenv("GCP_RUNS_DIR", "/elsewhere")
    assert compose_train().paths.run_dir.startswith("/elsewhere/digits/")


@pytest.mark.parametrize(
    "override",
    [
        "seed=1", "optimizer.lr=0.2", "schedule.epochs=16", "meta_layer.num_iterations=6", "data.batch_size=16",
        "trainer.precision=bf16-mixed", "trainer.limit_train_batches=2", "callbacks=none", "gradient_clip_norm=5",
        "protocol=hybrid",
    ],
)  # fmt: skip
def test_what_changes_the_result_changes_the_hash(compose_train, override):
    assert config_hash(compose_train(override)) != config_hash(compose_train())


@pytest.mark.parametrize(
    "override",
    [
        "paths.runs_dir=/x", "paths.data_dir=/y", "logger=wandb", "trainer.accelerator=cpu", "trainer.num_threads=3",
        "trainer.progress_bar=false", "data.num_workers=4", "data.pin_memory=true", "meta_layer=isqrt_cov",
    ],
)  # fmt: skip
def test_what_does_not_change_the_result_does_not_change_the_hash(compose_train, override, monkeypatch):
    expected = config_hash(compose_train())
    monkeypatch.setenv("GCP_RUNS_DIR", "/elsewhere")
    assert config_hash(compose_train(override)) == expected
