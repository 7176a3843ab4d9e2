"""Two real processes that train together, beside one that trains alone; one session of them serves all tests."""

import csv
import json
import os
import socket
import subprocess
import sys

import pytest
import torch

from gcp_repro.runs import RunDirectory, read_json
from gcp_repro.training.evaluate import evaluate
from gcp_repro.training.run import train
from tests.conftest import TINY
from tests.fakes import session_of_processes
from tests.fakes.session_of_processes import ALIKE, IN_PARTS, LIKE_ONE
from tests.tolerances import TIME_LIMIT

LAST_DIGIT = 1e-5  # of the seven that are printed, after 20 steps of sums in another order, four float32 eps each


@pytest.fixture(scope="module")
def session(tmp_path_factory):
    """The folder in which two processes have trained what `session_of_processes` lists, and how each step ended."""
    folder = tmp_path_factory.mktemp("session")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    processes = []
    for rank in ("0", "1"):
        environment = {
            **os.environ, "RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0",
            "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "session", "OMP_NUM_THREADS": "1",
            "PYTHONPATH": os.pathsep.join(sys.path),
        }  # fmt: skip
        command = [sys.executable, session_of_processes.__file__, str(folder)]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    said = [process.communicate(timeout=TIME_LIMIT)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(said)
    return folder, json.loads((folder / "session.json").read_text())


def run_of(folder):
    (path,) = (folder / "digits").iterdir()
    return RunDirectory(path)


def rows_of(run):
    rows = list(csv.DictReader(run.metrics.read_text().splitlines()))
    return [{key: value for key, value in row.items() if key != "seconds" and not key.endswith("time_share")} for row in rows]


@pytest.mark.parametrize("name", [*LIKE_ONE, "sharded"])
def test_two_processes_train_as_one_with_the_same_global_batch(session, compose_train, tmp_path, name):
    """In all printed digits, also the last step with its odd number of images; without batch norm, whose batches are halved."""
    folder, outcome = session
    assert outcome[name] == "finished"
    options = IN_PARTS if name == "sharded" else {**LIKE_ONE, "passes": ALIKE, "compiled": ALIKE}[name]
    alone = compose_train(*TINY, *options, f"paths.runs_dir={tmp_path}")
    expected = train(alone)["result"]
    run = run_of(folder / name)
    for row, single in zip(rows_of(run), rows_of(RunDirectory(alone.paths.run_dir)), strict=True):
        losses = {key: pytest.approx(float(value), rel=LAST_DIGIT) for key, value in single.items() if key.endswith("loss")}
        numbers = {key: float(row[key]) for key in losses}
        assert row | numbers == single | losses
    result = read_json(run.result)
    assert (result["config_hash"], result["setting"]) == (expected["config_hash"], expected["setting"])
    passes = 5 if name == "passes" else 1
    assert [result[key] for key in ("world_size", "batch_size", "local_batch_size")] == [2, 10, 5 // passes]


def test_a_sharded_run_resumes_behind_the_swap_and_its_weights_are_those_of_any_run(session):
    folder, outcome = session
    assert outcome["sharded, stopped"] == "interrupted"
    run = run_of(folder / "sharded")
    score = evaluate(run.last, accelerator="cpu")
    assert score["val/loss"] == pytest.approx(float(rows_of(run)[-1]["val/loss"]), rel=LAST_DIGIT)


def test_a_sharded_run_that_diverges_in_one_process_ends_in_all(session):
    folder, outcome = session
    assert outcome["spoiled sharded"] == "diverged"
    assert read_json(run_of(folder / "spoiled_sharded").result)["diverged_batch"] == 1


def test_an_epoch_that_was_stopped_half_way_keeps_the_metrics_of_all_processes(session):
    folder, outcome = session
    assert [outcome[name] for name in ("stopped", "resumed", "whole")] == ["interrupted", "finished", "finished"]
    resumed, whole = run_of(folder / "resumed"), run_of(folder / "whole")
    assert rows_of(resumed) == rows_of(whole)
    states = [torch.load(run.last, weights_only=True)["state_dict"] for run in (resumed, whole)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items() if torch.is_tensor(value))


@pytest.mark.parametrize(("split", "batch", "cause"), [("training", 1, "features"), ("validation", 0, "validation features")])
def test_one_process_that_diverges_ends_all_of_them_with_a_result(session, split, batch, cause):
    folder, outcome = session
    assert outcome[f"spoiled {split}"] == "diverged"
    run = run_of(folder / f"spoiled_{split}")
    result = read_json(run.result)
    assert [result[f"diverged_{name}"] for name in ("epoch", "batch", "cause")] == [1, batch, cause]
    (saved,) = run.nonfinite.glob("*.pt")
    assert saved.name == f"{split}-epoch1-batch{batch}-rank1.pt"
    assert f"replay={saved}" in result["message"]


def test_all_processes_skip_the_same_step(session):
    folder, outcome = session
    assert outcome["skipped"] == "finished"
    assert read_json(run_of(folder / "skipped").result)["skipped_steps"] == 1


def test_a_batch_that_cannot_be_shared_evenly_is_refused_before_anything_is_written(session):
    _, outcome = session
    assert outcome["uneven"] == "OptionError"


def test_batch_norm_over_halves_is_a_setting_of_its_own(session):
    folder, _ = session
    assert read_json(run_of(folder / "whole").result)["setting"]["batch_norm_images"] == 5
