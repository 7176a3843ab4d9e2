import os
import sys
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from gcp_repro.training.processes.distributed import gathered, rank, single_job_command


@pytest.fixture
def process(monkeypatch):
    """A sweep's process: its command line, its main module, one of Lightning's variables."""

    def start(mode):
        task = ["seed=1", "meta_layer=gap"]
        config = SimpleNamespace(mode=mode, overrides=SimpleNamespace(task=task))
        monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
        monkeypatch.setattr(HydraConfig, "get", lambda: config)
        monkeypatch.setattr(sys, "argv", ["gcp-train", "-m", "seed=1,2"])
        monkeypatch.setattr(sys.modules["__main__"], "__spec__", "joblib", raising=False)
        monkeypatch.setenv("MASTER_PORT", "1")
        monkeypatch.delenv("LOCAL_RANK", raising=False)

    return start


def test_in_a_sweep_the_command_is_that_of_the_job_alone_and_comes_back(process):
    process(RunMode.MULTIRUN)

    def run_and_fail():
        with single_job_command():
            assert sys.argv == ["gcp-train", "seed=1", "meta_layer=gap", "hydra.mode=RUN"]
            assert sys.modules["__main__"].__spec__ is None
            os.environ.update(MASTER_PORT="2", LOCAL_RANK="0")  # as Lightning does
            raise RuntimeError

    with pytest.raises(RuntimeError):
        run_and_fail()
    assert sys.argv == ["gcp-train", "-m", "seed=1,2"]
    assert sys.modules["__main__"].__spec__ == "joblib"
    assert os.environ["MASTER_PORT"] == "1"
    assert "LOCAL_RANK" not in os.environ


def test_a_single_run_is_left_as_it_is(process):
    process(RunMode.RUN)
    with single_job_command():
        assert sys.argv == ["gcp-train", "-m", "seed=1,2"]
        os.environ["LOCAL_RANK"] = "0"
    assert os.environ.pop("LOCAL_RANK") == "0"


def test_a_single_process_is_the_first_and_gathers_its_own():
    assert rank() == 0
    assert gathered("own") == ["own"]
