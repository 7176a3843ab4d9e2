import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from gcp_repro.errors import DataError
from gcp_repro.paper.store.results import RUN_COLUMNS, gather
from tests.paper.fake_runs import EPOCHS, write_broken, write_run, write_sweep


def problems_by_name(results):
    return {problem.path.name: problem for problem in results.problems}


def test_runs_of_any_depth_and_number_of_roots_become_one_table(tmp_path):
    write_run(tmp_path / "a", seed=0)
    write_run(tmp_path / "b" / "sweep" / "2026", seed=1)
    results = gather([tmp_path / "a", tmp_path / "b"])
    assert sorted(results.runs["seed"]) == [0, 1]
    assert tuple(results.runs.columns[: len(RUN_COLUMNS)]) == RUN_COLUMNS
    assert len(results.epochs) == 2 * EPOCHS
    assert results.problems == ()


def test_a_run_directory_is_a_root_itself_and_overlapping_roots_count_once(tmp_path):
    run = write_run(tmp_path)
    assert len(gather([run]).runs) == 1
    assert len(gather([tmp_path, run, run.parent]).runs) == 1


def test_csv_holds_versions_and_reads_back(tmp_path):
    write_run(tmp_path)
    gather([tmp_path]).write_store(tmp_path / "store", "csv")
    row = pd.read_csv(tmp_path / "store" / "runs.csv").iloc[0]
    assert (row["torch"], row["meta_layer"], row["planned_epochs"]) == ("2.6.0", "isqrt_cov", EPOCHS)
    assert json.loads(row["setting"])["optimizer.lr"] == 0.1


def test_missing_root_is_an_error(tmp_path):
    with pytest.raises(DataError, match=r"'.*rums' does not exist: give the folder that gcp-train wrote its runs to"):
        gather([tmp_path / "rums"])


def test_broken_runs_and_foreign_folders_are_reported_with_reasons(tmp_path):
    broken = write_broken(tmp_path)
    write_run(tmp_path, "whole", "isqrt_cov")
    results = gather([tmp_path])
    assert sorted(results.runs["meta_layer"]) == ["gap", "isqrt_cov"]
    found = {(problem.kind, problem.path): problem.reason for problem in results.problems}
    assert len(found) == len(broken)
    assert "15 epochs in metrics.csv" in found["incomplete", broken["interrupted"]]
    assert "not JSON" in found["unreadable", broken["half_written"] / "result.json"]
    assert "needs schema 2; got 0" in found["unreadable", broken["old_schema"] / "result.json"]
    assert "lacks meta_layer" in found["unreadable", broken["no_layer"] / "result.json"]
    assert "lacks final_top1_error" in found["unreadable", broken["no_error"] / "result.json"]
    assert "curves are missing" in found["unreadable", broken["no_curves"] / "metrics.csv"]
    assert "no file of a run" in found["foreign", broken["foreign"]]


def test_curves_hold_finite_numbers_or_nan(tmp_path):
    run = write_run(tmp_path)
    (run / "metrics.csv").write_text("epoch,val/loss,meta_layer\n0,inf,gap\n1,oops,gap\n2,0.5,gap\n<<<,1,gap\n")
    epochs = gather([tmp_path]).epochs
    assert epochs["epoch"].tolist() == [0, 1, 2]
    assert epochs["val/loss"].isna().tolist() == [True, True, False]


def test_an_empty_root_is_reported(tmp_path):
    (tmp_path / "empty").mkdir()
    problem = gather([tmp_path / "empty"]).problems[0]
    assert (problem.kind, problem.reason) == ("foreign", "an empty folder")


def test_an_empty_folder_beside_runs_is_reported(tmp_path):
    run = write_run(tmp_path)
    (tmp_path / "digits" / "crashed").mkdir()
    results = gather([tmp_path, run.parent])
    assert [(problem.path.name, problem.reason) for problem in results.problems] == [("crashed", "an empty folder")]


def test_hidden_folders_and_files_beside_runs_are_no_problem(tmp_path):
    write_run(tmp_path)
    (tmp_path / ".submitit").mkdir()
    (tmp_path / ".submitit" / "1.out").write_text("log")
    (tmp_path / "multirun.yaml").write_text("a: 1")
    assert gather([tmp_path]).problems == ()


def test_the_same_run_twice_counts_once_and_is_reported(tmp_path):
    write_run(tmp_path / "here", final=3.0, config_hash="abcd1234")
    write_run(tmp_path / "copy", final=3.0, config_hash="abcd1234")
    results = gather([tmp_path / "here", tmp_path / "copy"])
    assert results.runs["final_top1_error"].tolist() == [3.0]
    assert [problem.kind for problem in results.problems] == ["repeated"]
    assert results.problems[0].reason == (
        "the same run as ../../here/digits/isqrt_cov-float64-standalone-seed0-abcd1234, in every setting: left out"
    )


def test_runs_of_one_seed_that_differ_in_anything_are_both_kept(tmp_path):
    write_run(tmp_path, final=3.0, setting={"optimizer.lr": 0.1})
    write_run(tmp_path, final=9.0, setting={"optimizer.lr": 0.00001})
    results = gather([tmp_path])
    assert sorted(results.runs["final_top1_error"]) == [3.0, 9.0]
    assert results.problems == ()


def test_diverged_runs_are_counted_and_belong_to_the_setting_they_were_started_in(tmp_path):
    write_run(tmp_path, seed=0)
    diverged = write_run(tmp_path, seed=1, status="diverged")
    assert json.loads((diverged / "result.json").read_text())["epochs"] < EPOCHS
    results = gather([tmp_path])
    assert results.runs["planned_epochs"].tolist() == [EPOCHS, EPOCHS]
    assert len(results.finished) == 1


def test_a_run_that_diverged_in_its_first_epoch_has_no_curves_and_that_is_no_problem(tmp_path):
    (write_run(tmp_path, status="diverged") / "metrics.csv").unlink()
    results = gather([tmp_path])
    assert len(results.runs) == 1
    assert results.problems == ()


def test_links_in_a_circle_are_followed_once(tmp_path):
    run = write_run(tmp_path / "runs")
    (tmp_path / "runs" / "loop").symlink_to(tmp_path / "runs", target_is_directory=True)
    (tmp_path / "runs" / "again").symlink_to(run, target_is_directory=True)
    (tmp_path / "runs" / "nowhere").symlink_to(tmp_path / "gone")
    (tmp_path / "elsewhere").symlink_to(tmp_path / "runs", target_is_directory=True)
    results = gather([tmp_path / "runs", tmp_path / "elsewhere" / "digits"])
    assert len(results.runs) == 1
    assert [(problem.kind, problem.reason[:16]) for problem in results.problems] == [("foreign", "no run directory")]


def test_a_folder_that_cannot_be_listed_is_reported(tmp_path, monkeypatch):
    write_run(tmp_path)
    closed = tmp_path / "closed"
    closed.mkdir()
    listing = Path.iterdir

    def refuse(path):
        if path == closed:
            raise PermissionError(13, "Permission denied")
        return listing(path)

    monkeypatch.setattr(Path, "iterdir", refuse)
    unlisted = ("unreadable", closed, "cannot be listed: Permission denied")
    results = gather([tmp_path])
    assert len(results.runs) == 1
    assert [(problem.kind, problem.path, problem.reason) for problem in results.problems] == [unlisted]
    shutil.rmtree(tmp_path / "digits")
    (tmp_path / "notes.txt").write_text("no run")
    assert [(problem.kind, problem.path) for problem in gather([tmp_path]).problems] == [unlisted[:2], ("foreign", tmp_path)]


def test_imported_weights_wait_for_their_score(tmp_path):
    write_run(tmp_path)
    waiting = tmp_path / "pade_resnet50"
    waiting.mkdir()
    (waiting / "config.yaml").write_text("seed: 0\n")
    (waiting / "import.json").write_text("{}")
    (problem,) = gather([tmp_path]).problems
    assert (problem.kind, problem.path) == ("unscored", waiting)
    assert problem.reason == f"imported weights that have no score yet: gcp-eval run={waiting}"


def test_no_runs_at_all():
    results = gather([])
    assert len(results.runs) == 0
    assert set(RUN_COLUMNS) <= set(results.runs.columns)


def test_a_sweep_of_ninety_runs(tmp_path):
    runs = write_sweep(tmp_path)
    results = gather([tmp_path])
    assert len(results.runs) == len(runs) == 90
    assert (results.runs["status"] == "diverged").sum() == 1
