"""What loggers are told: each of them through a run that finishes, diverges, is stopped, or fails."""

import time

import pytest
import wandb

from gcp_repro.runs import RunDirectory
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.training.run import train
from tests.fakes.commands import troubled
from tests.tolerances import TIME_LIMIT

SHORT = ("schedule.epochs=2", "schedule.milestones=[1]")


@pytest.fixture
def told(monkeypatch):
    """What W&B's runs are told at their end: summary, notes, exit status."""
    found = []
    finish = wandb.finish

    def noted(exit_code=None, **options):
        run = wandb.run
        found.append((dict(run.summary), run.notes, exit_code))
        finish(exit_code=exit_code, **options)

    monkeypatch.setattr(wandb, "finish", noted)
    monkeypatch.setenv("WANDB_SILENT", "true")
    return found


def test_wandb_is_told_how_each_session_ended(compose_tiny, told, tmp_path):
    """Stopped, failed, then finished: one run, a line of notes a session."""
    options = ("logger=wandb", "protocol=hybrid", "meta_layer=svd_pade", *troubled(mended=tmp_path / "mended", failing=0))
    (tmp_path / "mended").touch()
    with pytest.raises(TrainingInterrupted):
        train(compose_tiny(*options, "+trainer.max_steps=9"))
    (tmp_path / "mended").unlink()
    with pytest.raises(RuntimeError, match="on fire"):
        train(compose_tiny(*options))
    (tmp_path / "mended").touch()
    config = compose_tiny(*options)
    result = train(config)["result"]

    assert [(summary["status"], code, summary["exit_code"]) for summary, _, code in told] == [
        ("interrupted", 75, 75), ("failed", 1, 1), ("finished", 0, 0),
    ]  # fmt: skip
    summary, notes, _ = told[-1]
    assert (summary["best_top1_error"], summary["swap_epoch"], summary["epochs"]) == (result["best_top1_error"], 2, 4)
    lines = notes.splitlines()
    swapped = " (with svd_pade since epoch 2)"
    assert lines[0] == f"interrupted: stopped by trainer.max_steps; run the same command again to go on{swapped}"
    assert lines[1] == f"failed: RuntimeError: the machine is on fire{swapped}"
    assert lines[2].startswith("finished: error ")
    assert len(lines) == 3
    assert wandb.run is None


def test_wandb_is_told_of_divergence(compose_tiny, told):
    train(compose_tiny("logger=wandb", "optimizer.lr=1e30", "meta_layer=gap"))
    ((summary, notes, code),) = told
    assert (summary["status"], code) == ("diverged", 3)
    assert "not finite" in notes


def test_wandb_gets_tags_that_it_can_take(compose_tiny, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = compose_tiny("logger=wandb", *SHORT, f"experiment_name={70 * 'e'}", "trainer.max_epochs=1")
    train(config)
    (recording,) = (RunDirectory(config.paths.run_dir).path / "wandb").glob("offline-run-*/*.wandb")
    end = time.monotonic() + TIME_LIMIT
    while 64 * b"e" not in recording.read_bytes():  # W&B's own process writes it, also after the run has finished
        assert time.monotonic() < end
        time.sleep(0.05)


def test_tensorboard_gets_the_numbers(compose_tiny, read_rows):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = compose_tiny("logger=[csv,tensorboard]", *SHORT, "progress.logged_steps=2")
    train(config)
    run = RunDirectory(config.paths.run_dir)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    errors = [event.value for event in events.Scalars("val/top1_error")]
    assert errors == [float(row["val/top1_error"]) for row in read_rows(run.metrics)]
    assert [event.step for event in events.Scalars("step/loss")] == [2, 4, 6, 8]
    assert "meta_layer" not in events.Tags()["scalars"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of MLflow's own parts
def test_mlflow_has_one_run_for_all_sessions_and_its_state(compose_tiny, read_rows, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    with pytest.raises(TrainingInterrupted):
        train(compose_tiny("logger=mlflow", *SHORT, "+trainer.max_steps=6"))
    run = RunDirectory(compose_tiny("logger=mlflow", *SHORT).paths.run_dir)
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
    name = (run.path / "mlflow" / "run-id.txt").read_text()
    assert client.get_run(name).info.status == "KILLED"
    train(compose_tiny("logger=mlflow", *SHORT))
    found = client.get_run(name)
    assert found.info.status == "FINISHED"
    assert found.data.params["meta_layer/name"] == "isqrt_cov"
    errors = [metric.value for metric in client.get_metric_history(name, "val/top1_error")]
    assert errors == [float(row["val/top1_error"]) for row in read_rows(run.metrics)]


@pytest.mark.filterwarnings("ignore")  # of Trackio's own parts
def test_trackio_keeps_the_numbers(compose_tiny, read_rows, tmp_path, monkeypatch):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    trackio = pytest.importorskip("trackio")
    monkeypatch.setattr("trackio.utils.TRACKIO_DIR", tmp_path / "trackio")
    config = compose_tiny("logger=trackio", *SHORT)
    train(config)
    run = RunDirectory(config.paths.run_dir)
    kept = trackio.Api().runs("gcp_repro")
    assert [one.name for one in kept] == [run.path.name]
