import csv
from pathlib import Path

import pytest
import torch

from gcp_repro.errors import DataError
from gcp_repro.linalg.solvers import Solvers
from gcp_repro.runs.machine import cpu_name
from gcp_repro.training.evaluate import evaluate
from gcp_repro.training.loop.solvers import measured_times
from gcp_repro.training.loop.stopping import TrainingInterrupted
from gcp_repro.training.run import train

WORK = "newton_schulz exact gram float64 standard"


@pytest.fixture
def table(tmp_path, monkeypatch):
    """Writes the file of measurements: which solver is the fastest for isqrt_cov on this machine."""
    path = tmp_path / "solvers.csv"
    monkeypatch.setenv("GCP_SOLVERS", str(path))

    def write(fastest, device_name=None):
        with path.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["device_name", "channels", "positions", "work", "solver", "seconds"])
            for solver in ("device", "products"):
                writer.writerow([device_name or cpu_name(), 8, 16, WORK, solver, 1.0 if solver == fastest else 2.0])

    write.path = path
    return write


@pytest.mark.parametrize(
    ("fastest", "device_name", "expected"),
    [("products", None, "products"), ("device", None, "device"), ("products", "another processor", "device")],
)
def test_runs_go_by_the_measurements_of_their_machine_and_say_so(compose_tiny, table, fastest, device_name, expected):
    table(fastest, device_name)
    result = train(compose_tiny("meta_layer=isqrt_cov", "schedule.epochs=1", "schedule.milestones=[]"))["result"]
    assert result["solver"] == expected


def test_layers_without_a_choice_have_no_solver(compose_tiny):
    result = train(compose_tiny("meta_layer=gap", "schedule.epochs=1", "schedule.milestones=[]"))["result"]
    assert result["solver"] is None


def test_a_resumed_run_keeps_what_it_was_begun_with(compose_tiny, table):
    overrides = ("meta_layer=isqrt_cov", "schedule.epochs=2", "schedule.milestones=[]")
    table("products")
    with pytest.raises(TrainingInterrupted):
        train(compose_tiny(*overrides, "+trainer.max_steps=5"))
    table("device")
    resumed = train(compose_tiny(*overrides))
    assert resumed["result"]["solver"] == "products"
    state = torch.load(Path(resumed["trainer"].default_root_dir) / "checkpoints" / "last.ckpt", weights_only=True)
    (kept,) = [value for name, value in state["callbacks"].items() if name.startswith("KeepSolvers")]
    assert kept["taken"] == ["products"]
    assert len(kept["times"]) == 2


def test_a_file_that_is_none_is_refused_before_training(compose_tiny, table):
    table.path.write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"gcp-bench tune wrote.*solvers\.csv.*write it again"):
        measured_times(table.path, torch.device("cpu"))
    with pytest.raises(DataError):
        train(compose_tiny("meta_layer=isqrt_cov"))


def test_a_checkpoint_is_scored_with_the_solvers_that_it_was_trained_with(compose_tiny, table, monkeypatch):
    table("products")
    run = Path(
        train(compose_tiny("meta_layer=isqrt_cov", "schedule.epochs=1", "schedule.milestones=[]"))["trainer"].default_root_dir
    )
    table("device")
    asked = []
    monkeypatch.setattr(Solvers, "recipe", lambda self, spec, features: asked.append(self.times) or spec.text)
    evaluate(run / "checkpoints" / "last.ckpt", accelerator="cpu")
    assert asked
    assert all(min(times, key=lambda time: time.seconds).solver == "products" for times in asked)
