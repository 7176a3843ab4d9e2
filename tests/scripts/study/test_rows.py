"""Commands repeat their runs; rows that are there stay."""

import json
import math
import sys

import pytest
from hydra import initialize_config_module
from omegaconf import OmegaConf

from scripts.study import rows


@pytest.mark.parametrize(
    "overrides",
    [
        ["experiment=study", "meta_layer=isqrt_cov", "seed=3"],
        [
            "experiment=study",
            "meta_layer=mpn_cov",
            "meta_layer.dtype=float32",
            "protocol=hybrid",
            "protocol.warmup_epochs=2",
            "seed=1",
        ],
        [
            "experiment=study",
            "meta_layer=spectral",
            "meta_layer.forward=power",
            "+meta_layer.exponent=0.3",
            "data.split=validation",
        ],
        ["experiment=study", "meta_layer=gap", "model.hidden_dims=[256,256]", "schedule.milestones=[]", "gradient_clip_norm=5.0"],
        ["experiment=digits", "meta_layer=svd_pade", "data.train_size=100"],
    ],
)
def test_the_command_of_a_run_composes_its_configuration(compose_train, overrides):
    config = compose_train(*overrides)
    resolved = OmegaConf.create(OmegaConf.to_container(config, resolve=True))
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        found = rows.overrides_of(resolved)
    assert rows.comparable(compose_train(*found)) == rows.comparable(config)
    assert found[0] == overrides[0]
    assert len(found) <= len(overrides) + 1  # nothing that the experiment says already


def test_a_diverged_run_counts_as_chance(compose_train, tmp_path):
    config = compose_train("experiment=study", "meta_layer=svd_pade")
    versions = {"torch": "2"}
    result = {
        "status": "diverged",
        "final_top1_error": None,
        "warmup_epochs": None,
        "wall_time_seconds": 1.0,
        "versions": versions,
    }
    (tmp_path / "result.json").write_text(json.dumps(result | {"git_revision": "abc", "config_hash": "12345678"}))
    (tmp_path / "metrics.csv").write_text("epoch,train/loss\n0,1.0\n1,2.0\n")
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        row, epochs = rows.run_row(tmp_path, config)
    assert (row["error"], row["status"], len(epochs)) == (90.0, "diverged", 2)
    assert row["loss_area"] == pytest.approx((1.0 + 2.0 + 8 * math.log(10)) / 10)


def a_finished_run(folder, config):
    """A run directory as `rows` reads it."""
    folder.mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(config, resolve=True)), folder / "config.yaml")
    result = {
        "status": "finished",
        "final_top1_error": 20.0,
        "warmup_epochs": None,
        "wall_time_seconds": 1.0,
        "versions": {"torch": "2"},
        "git_revision": "abc",
        "config_hash": f"12e4567{config.seed}",
    }
    (folder / "result.json").write_text(json.dumps(result))
    (folder / "metrics.csv").write_text("epoch,train/loss\n0,1.25\n")


def test_rows_that_are_there_stay_and_new_ones_find_their_place(compose_train, tmp_path, monkeypatch):
    """Seed 10 stands behind seed 9, and a stored row keeps what later code would write otherwise."""

    def write():
        monkeypatch.setattr(sys, "argv", ["rows", str(tmp_path / "runs"), "--output", str(tmp_path)])
        assert rows.main() == 0

    for seed in (9, 2):
        config = compose_train("experiment=study", "meta_layer=gap", f"seed={seed}")
        a_finished_run(tmp_path / "runs" / "study" / f"gap{seed}", config)
        write()
    written = tmp_path / "runs.csv"
    assert [line.split(",")[-1] for line in written.read_text().splitlines()] == [
        "command",
        "gcp-train experiment=study meta_layer=gap seed=2",
        "gcp-train experiment=study meta_layer=gap seed=9",
    ]
    written.write_text(written.read_text().replace(",20,", ",20.5,"))
    write()
    assert written.read_text().count(",20.5,") == 2
    epochs = (tmp_path / "epochs.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in epochs] == ["config_hash", "12e45672", "12e45679"]
