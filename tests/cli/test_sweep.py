"""Sweeps in which something goes wrong: what is said, what is written, what the next start trains."""

import json
import os
import shlex
import signal
from contextlib import contextmanager
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module

from gcp_repro.cli import train
from gcp_repro.errors import StorageError
from gcp_repro.paper.store.results import gather
from gcp_repro.runs import RunDirectory, files, run_lock
from tests.fakes.commands import gated, results, troubled, wait_for
from tests.tolerances import TIME_LIMIT


@pytest.fixture
def sweep(command, capsys, tmp_path):
    """Run a sweep in this process; returns its exit code, what it printed and its report."""

    def run(*arguments):
        before = set(reports(tmp_path))
        code = 0
        try:
            command(train.main, "-m", *arguments)
        except SystemExit as exit_:
            code = exit_.code
        written = [path for path in reports(tmp_path) if path not in before]
        return code, capsys.readouterr(), *(json.loads(path.read_text()) for path in written)

    return run


def reports(folder):
    return sorted(folder.glob("runs/sweeps/*/report.json"))


def jobs(folder):
    return [json.loads(path.read_text()) for path in sorted(folder.glob("runs/sweeps/*/job-*.json"))]


def states(report):
    return [job["state"] for job in report["jobs"]]


def test_a_sweep_tells_what_went_wrong_and_the_next_start_repeats_that_alone(sweep, compose_tiny, tmp_path):
    options = [*troubled(mended=tmp_path / "mended", diverging=1, failing=2), "schedule.epochs=1", "schedule.milestones=[]"]
    locked = RunDirectory(compose_tiny(*options, "seed=3").paths.run_dir)
    with run_lock(locked):
        code, said, report = sweep(*options, "seed=0,1,2,3")
    assert code == report["exit_code"] == 1
    assert report["counts"] == {"finished": 1, "diverged": 1, "failed": 1, "locked": 1}
    assert "sweep of 4: 1 finished, 1 diverged, 1 failed, 1 locked" in said.out
    assert states(report) == ["finished", "diverged", "failed", "locked"]

    failed = report["jobs"][2]
    assert failed["error"] == "RuntimeError: the machine is on fire"
    assert 'raise RuntimeError("the machine is on fire' in failed["traceback"]
    assert f"failed [3/4] seed=2\n  error: {failed['error']}\n  log: {failed['log']}\n  repeat: {failed['command']}\n" in said.out
    assert failed["error"] in Path(failed["log"]).read_text()
    assert "\nlocked [4/4] seed=3\n  error: RunLocked: training here already: " in said.out
    assert "\ndiverged [2/4] seed=1\n  error: training stopped being finite in epoch 0, batch 0" in said.out
    assert "the same command again trains the 2 that are not over: gcp-train -m " in said.out
    assert all("sweeps" not in str(problem.path) for problem in gather([tmp_path / "runs"]).problems)
    name, *alone = shlex.split(failed["command"])
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        assert (name, compose("train", alone).paths.run_dir) == ("gcp-train", failed["directory"])

    (tmp_path / "mended").touch()
    code, said, report = sweep(*options, "seed=0,1,2,3")
    assert (code, states(report)) == (0, ["skipped", "skipped", "finished", "finished"])
    assert "sweep of 4: 2 finished, 2 skipped (1 finished, 1 diverged before)" in said.out


def test_a_sweep_whose_jobs_all_fail_alike_ends_with_their_status(sweep):
    code, said, report = sweep("meta_layer=gap", "protocol=hybrid", "seed=0,1")
    assert (code, states(report)) == (2, ["failed", "failed"])
    assert said.out.count("ProtocolError: the hybrid protocol needs a layer that can go on from 'isqrt_cov'") == 4
    assert "gcp-train: " not in said.err


def test_a_limit_of_steps_stops_each_job_and_not_the_sweep(sweep):
    code, _, report = sweep("+trainer.max_steps=2", "seed=0,1")
    assert (code, states(report)) == (75, ["interrupted", "interrupted"])


def test_a_signal_to_a_job_of_this_process_ends_the_sweep(sweep, tmp_path):
    options = [*troubled(mended=tmp_path / "mended", signalled=1), "seed=0,1,2"]
    code, said, report = sweep(*options)
    assert (code, states(report)) == (143, ["finished", "interrupted", "not started"])
    assert "sweep of 3: 1 finished, 1 interrupted, 1 not started" in said.out
    (tmp_path / "mended").touch()
    code, _, report = sweep(*options)
    assert (code, states(report)) == (0, ["skipped", "finished", "finished"])


def test_a_sweep_that_cannot_begin_leaves_nothing(sweep, tmp_path):
    code, said = sweep("seed=0,1", "optimizer.learning_rate=3")
    assert code == 2
    assert "no option 'optimizer.learning_rate'; nearest: " in said.err
    assert "sweep of" not in said.out
    assert not (tmp_path / "runs" / "sweeps").exists()


def test_a_job_of_a_configured_sweep_is_repeated_without_the_sweep(sweep, tmp_path):
    mended = tmp_path / "mended"
    code, _, report = sweep(
        "sweep=appendix_g", *troubled(mended=mended, failing=4), "schedule.epochs=1", "schedule.milestones=[]"
    )
    assert (code, states(report)) == (1, [*4 * ["finished"], "failed"])
    alone = shlex.split(report["jobs"][4]["command"])[1:]
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        config = compose("train", alone, return_hydra_config=True)
    assert (config.hydra.mode.name, config.seed, config.meta_layer.name) == ("RUN", 4, "svd_pade")


@pytest.mark.slow
@pytest.mark.usefixtures("posix")
def test_workers_that_are_killed_or_asked_to_stop_lose_nothing(start, sweep, tmp_path, gate, read_rows):
    """Every job waits in epoch 2: one worker is killed; at the next start the main process is asked to stop."""
    overrides = ["seed=0,1,2,3", *gated(gate, epoch=2)]
    parallel = ["-m", *overrides, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]

    process = start(*parallel)
    wait_for(lambda: len(list(tmp_path.glob("runs/digits/*/metrics.csv"))) == 2, process)
    os.kill(jobs(tmp_path)[0]["process"], signal.SIGKILL)
    said, _ = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 1, said
    (killed,) = (json.loads(path.read_text()) for path in reports(tmp_path))
    assert killed["counts"] == {"lost": 2, "not started": 2}  # joblib kills the other worker as well
    assert "TerminatedWorkerError" in said
    assert "lost [1/4] seed=0\n  error: its process ended without a word" in said

    process = start(*parallel)
    wait_for(lambda: [job["state"] for job in jobs(tmp_path)[2:]] == ["running", "running"], process)
    wait_for(lambda: all((run / ".lock").exists() for run in tmp_path.glob("runs/digits/*")), process)
    process.send_signal(signal.SIGTERM)
    gate.touch()
    said, _ = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 143, said
    stopped = json.loads(reports(tmp_path)[-1].read_text())
    assert stopped["counts"] == {"interrupted": 2, "not started": 2}
    assert {job["error"] for job in stopped["jobs"][:2]} == {"stopped by SIGTERM"}
    assert not results(tmp_path)

    code, _, report = sweep(*overrides)
    assert (code, report["counts"]) == (0, {"finished": 4})
    assert [len(read_rows(path)) for path in tmp_path.glob("runs/digits/*/metrics.csv")] == 4 * [4]


def test_a_full_disk_fails_jobs_but_not_the_account(sweep, monkeypatch, tmp_path):
    """Nothing can be written of the second job: neither its files nor its record, nor the report."""
    write = files.replacing

    @contextmanager
    def full(path, **options):
        if path.name in ("job-00001.json", "report.json") or "seed1" in str(path):
            raise StorageError(path, OSError(28, "No space left on device"))
        with write(path, **options) as temporary:
            yield temporary

    monkeypatch.setattr(files, "replacing", full)
    code, said = sweep("seed=0,1", "schedule.epochs=1", "schedule.milestones=[]")
    assert code == 1
    assert "sweep of 2: 1 finished, 1 failed\nfailed [2/2] seed=1\n  error: StorageError: writing " in said.out
    assert "report.json failed (No space left on device)" in said.err
