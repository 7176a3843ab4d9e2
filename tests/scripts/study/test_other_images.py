"""Differences on images that judge no run."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from omegaconf import OmegaConf

from gcp_repro.runs.directory import RunDirectory
from gcp_repro.training.build import build, build_network
from scripts.study import networks, other_images, questions


def test_a_difference_has_an_error_of_seeds_and_one_of_images():
    """Two seeds, four images: the arm is wrong on one image more with seed 0 and on two with seed 1."""
    base = questions.BASE | {"clip_norm": math.nan}
    runs = pd.DataFrame(
        [base | {"layer": layer, "seed": seed, "config_hash": f"{layer}{seed}"} for layer in "ab" for seed in (0, 1)]
    )
    comparison = questions.Comparison(2, "a to b", {"layer": "a"}, {"layer": "b"})
    scored = {
        "a0": np.array([True, False, False, False]),
        "a1": np.array([True, True, False, False]),
        "b0": np.zeros(4, bool),
        "b1": np.zeros(4, bool),
    }
    row = other_images.row(comparison, runs, scored)
    assert (row["n"], row["images"], row["difference"]) == (2, 4, 37.5)
    assert row["seed_error"] == pytest.approx(12.5)  # 25 and 50 points
    assert row["image_error"] == pytest.approx(np.std([100, 50, 0, 0], ddof=1) / 2)
    half = 12.706205 * math.hypot(row["seed_error"], row["image_error"])
    assert (row["low"], row["high"]) == pytest.approx((37.5 - half, 37.5 + half))


def test_a_stored_network_is_scored_without_the_options_of_training(compose_tiny, tmp_path):
    """Of a run's configuration only data, model and layer are used: earlier runs lack later options."""
    config = compose_tiny("meta_layer=isqrt_cov")
    kept = OmegaConf.create({key: config[key] for key in ("data", "model", "meta_layer", "seed")})
    run = RunDirectory(tmp_path)
    OmegaConf.save(OmegaConf.create(OmegaConf.to_container(kept, resolve=True)), run.config)
    datamodule = networks.data_of(run, eval_batch_size=7)
    torch.manual_seed(3)
    network = build_network(config.model, datamodule, build(config.meta_layer)).eval()
    run.last.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"state_dict": {f"network.{key}": value for key, value in network.state_dict().items()}}, run.last)
    images, labels = next(iter(datamodule.val_dataloader()))
    assert len(labels) == 7
    found = other_images.wrong(run, images, labels, datamodule)
    inputs, _ = datamodule.on_after_batch_transfer([images, labels], 0)
    with torch.no_grad():
        assert found.tolist() == (network(inputs).argmax(1) != labels).tolist()
