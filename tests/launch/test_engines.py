"""Sweeps whose jobs other programs start: submitit's processes, Ray's cluster, Optuna's search."""

import sqlite3

import pytest

from gcp_repro.runs import RunDirectory, read_json

pytestmark = pytest.mark.launcher


def results(tmp_path):
    found = [read_json(RunDirectory(path).result) for path in sorted((tmp_path / "runs" / "digits").iterdir())]
    assert all(result["status"] == "finished" for result in found)
    return found


@pytest.mark.parametrize(
    ("launch", "package"),
    [("local_jobs", "hydra_plugins.hydra_submitit_launcher"), ("ray", "hydra_plugins.hydra_ray_launcher"), ("joblib", "joblib")],
)
def test_each_job_of_a_sweep_is_a_run(gcp_train, tmp_path, launch, package):
    pytest.importorskip(package)
    gcp_train("-m", f"launch={launch}", "seed=0,1")
    assert sorted(result["seed"] for result in results(tmp_path)) == [0, 1]


def test_a_search_takes_the_error_of_each_run(gcp_train, tmp_path):
    """In memory, and in a file that the next start goes on with."""
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    gcp_train("-m", "launch=optuna", "hydra.sweeper.n_trials=2")
    errors = {result["final_top1_error"] for result in results(tmp_path)}
    file = tmp_path / "study.db"
    for trials in (1, 2):
        gcp_train("-m", "launch=optuna", "hydra.sweeper.n_trials=1", f"hydra.sweeper.storage=sqlite:///{file}")
        with sqlite3.connect(file) as database:
            values = [value for (value,) in database.execute("select value from trial_values order by trial_id")]
        assert len(values) == trials
    assert values[0] in errors  # the same first trial, a run that was there already


def test_a_trial_that_diverges_does_not_end_the_search(gcp_train, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    gcp_train("-m", "launch=optuna", "optimizer.lr=choice(1.0e+30, 0.1)", "hydra.sweeper.n_trials=4")
    statuses = {read_json(RunDirectory(path).result)["status"] for path in (tmp_path / "runs" / "digits").iterdir()}
    assert statuses == {"diverged", "finished"}
