"""Every test starts in the same surroundings; configurations small enough to train in a fraction of a second."""

import csv
import logging
import os
import random
from collections.abc import Callable
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from gcp_repro.runs import register_resolvers

collect_ignore = ["fakes"]  # scripts that processes run: pytest would import them here, in search of doctests

# The same examples everywhere, however slow the machine is.
hypothesis.settings.register_profile(
    "same", derandomize=True, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("same")

if "PYTEST_XDIST_WORKER" in os.environ:  # files side by side: a core each, here and in the processes that tests start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))

# Digits with 4 training batches of 10, two narrow convolutions, decays at epochs 2 and 3: a hybrid run swaps at epoch 2.
TINY = [
    "data.train_size=40",
    "data.batch_size=10",
    "data.eval_batch_size=64",
    "model.backbone.stages=[{channels: 8, kernel: 3}, {channels: 8, kernel: 3}]",
    "schedule.epochs=4",
    "schedule.milestones=[2, 3]",
    "trainer.limit_val_batches=1",
    "trainer.accelerator=cpu",
    "trainer.num_threads=1",
    "callbacks=none",
]

Compose = Callable[..., DictConfig]


@pytest.fixture(autouse=True)
def _the_same_surroundings():
    """What a test draws depends on no other test, and what it leaves in the environment reaches none."""
    environment, threads, level = dict(os.environ), torch.get_num_threads(), logging.getLogger().level
    torch.manual_seed(0)
    yield
    logging.getLogger().setLevel(level)
    torch.set_num_threads(threads)
    for name in os.environ.keys() - environment.keys():
        del os.environ[name]
    os.environ.update(environment)


@pytest.fixture(autouse=True)
def _fresh_hydra():
    register_resolvers()
    GlobalHydra.instance().clear()
    yield
    GlobalHydra.instance().clear()
    for handler in logging.getLogger().handlers[:]:
        if isinstance(handler, logging.FileHandler) and handler.baseFilename.endswith("train.log"):
            logging.getLogger().removeHandler(handler)
            handler.close()


@pytest.fixture(autouse=True)
def _no_foreign_settings(monkeypatch, tmp_path):
    """Keep the tests away from the user's runs, measurements and accounts, and from Hydra's environment."""
    for name in ("GCP_RUNS_DIR", "GCP_DATA_DIR", "WANDB_API_KEY", "WANDB_MODE", "WANDB_SERVICE", "HYDRA_FULL_ERROR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GCP_SOLVERS", "")
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    monkeypatch.setenv("GCP_TRUSTED", "tests.fakes.")


@pytest.fixture
def posix():
    """Of tests that fork, send signals or limit files as POSIX has them."""
    if os.name != "posix":
        pytest.skip("needs a POSIX system")


@pytest.fixture
def generator_states() -> Callable[[], list[object]]:
    """The states of the process's random generators: torch's, numpy's, Python's."""

    def read() -> list[object]:
        _, words, *rest = np.random.get_state()  # noqa: NPY002 - the global state itself is meant
        return [torch.get_rng_state().tolist(), words.tolist(), rest, random.getstate()]

    return read


@pytest.fixture
def compose_train() -> Compose:
    """Compose `configs/train.yaml` with overrides."""

    def compose_with(*overrides: str) -> DictConfig:
        with initialize_config_module("gcp_repro.configs", version_base="1.3"):
            return compose("train", [*overrides])

    return compose_with


@pytest.fixture
def tiny_overrides() -> list[str]:
    """For tests that run a command."""
    return [*TINY]


@pytest.fixture
def compose_tiny(compose_train, tmp_path) -> Compose:
    """The same for a run of a fraction of a second; `runs` names the folder of its run directory."""

    def compose_with(*overrides: str, runs: str = "runs") -> DictConfig:
        return compose_train(*TINY, f"paths.runs_dir={tmp_path / runs}", *overrides)

    return compose_with


@pytest.fixture
def read_rows() -> Callable[[Path], list[dict[str, str]]]:
    """Rows of a csv file, without what depends on the clock."""

    def read(path: Path) -> list[dict[str, str]]:
        rows = list(csv.DictReader(path.read_text().splitlines()))
        return [{k: v for k, v in row.items() if k != "seconds" and not k.endswith("time_share")} for row in rows]

    return read


@pytest.fixture
def weights() -> Callable[[Path], dict[str, torch.Tensor]]:
    """The network's state in the last checkpoint of a run directory."""

    def load(run_dir: Path) -> dict[str, torch.Tensor]:
        return torch.load(Path(run_dir) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]

    return load
