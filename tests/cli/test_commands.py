"""`gcp-train` and `gcp-eval` as a user runs them: alone, in sweeps, killed and started again, in several processes."""

import json
import os
import re
import signal
from pathlib import Path

import pytest
import torch

from gcp_repro.cli import evaluate, train
from gcp_repro.training.record.loggers import has_wandb_key
from gcp_repro.training.run import train as train_config
from tests.fakes.commands import gated, results, wait_for
from tests.tolerances import TIME_LIMIT

ROOT = Path(__file__).parents[2]


def test_eval_prints_the_number_that_training_ended_with(command, capsys, tmp_path):
    command(train.main, "meta_layer=svd_pade", "protocol=hybrid")
    (path,) = results(tmp_path / "runs")
    result = json.loads(path.read_text())
    said = capsys.readouterr().out
    assert f"error {result['final_top1_error']:.2f} %" in said
    assert "isqrt_cov gives way to svd_pade at epoch 2" in (path.parent / "train.log").read_text()
    for argument in (f"run={path.parent}", f"checkpoint={path.parent}/checkpoints/last.ckpt"):
        command(evaluate.main, argument, "accelerator=cpu")
        said = capsys.readouterr().out
        assert re.search(r"val/top1_error ([0-9.e+-]+)", said)[1] == str(result["final_top1_error"])
        assert re.search(r"val/loss ([0-9.e+-]+)", said)[1] == str(result["final_loss"])
    assert not list(tmp_path.glob("*.log"))


def test_a_sweep_skips_what_is_finished(command, capsys, tmp_path):
    arguments = ["-m", "meta_layer=gap,svd_lyapunov", "seed=0,1", "schedule.epochs=1", "schedule.milestones=[]"]
    command(train.main, "meta_layer=gap", "schedule.epochs=1", "schedule.milestones=[]", "seed=1")
    first = results(tmp_path / "runs")
    command(train.main, *arguments)
    said = capsys.readouterr().out
    assert len(first) == 1
    assert len(results(tmp_path / "runs")) == 4
    assert f"[2/4] already finished, skipped: error {json.loads(first[0].read_text())['final_top1_error']:.2f} %" in said
    assert "[4/4] error" in said
    command(train.main, *arguments)
    assert capsys.readouterr().out.count("already finished, skipped") == 4


def test_a_diverged_job_does_not_stop_a_sweep(command, tmp_path):
    command(train.main, "-m", "optimizer.lr=1e30,0.1", "meta_layer=gap")
    assert sorted(json.loads(path.read_text())["status"] for path in results(tmp_path / "runs")) == ["diverged", "finished"]


def test_a_refused_job_does_not_stop_a_sweep_but_fails_it(command, tmp_path, capsys):
    with pytest.raises(SystemExit) as exit_:
        command(train.main, "-m", "meta_layer=gap,svd_lyapunov", "protocol=hybrid")
    assert exit_.value.code == 2
    assert "got 'gap': set protocol=standalone" in capsys.readouterr().out
    assert len(results(tmp_path / "runs")) == 1


@pytest.mark.parametrize("debug", ["default", "tiny"])
def test_debug_runs_are_short_and_apart(command, tmp_path, debug):
    command(train.main, f"debug={debug}", "meta_layer=svd_pade", "protocol=hybrid")
    (path,) = results(tmp_path / "runs" / "debug")
    result = json.loads(path.read_text())
    assert result["epochs"] == {"default": 1, "tiny": 4}[debug]


def test_wandb_is_offline_without_a_key_and_has_one_run_a_job(command, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    command(
        train.main,
        "-m",
        "seed=0,1",
        "logger=wandb",
        "schedule.epochs=2",
        "schedule.milestones=[1]",
        "callbacks=default",
        "meta_layer=svd_pade",
    )
    assert len(results(tmp_path / "runs")) == 2
    for path in results(tmp_path / "runs"):
        (offline,) = (path.parent / "wandb").glob("offline-run-*")
        content = next(offline.glob("*.wandb")).read_bytes()
        names = ["val/top1_error", "val/top5_error", "train/top1_error", "train/loss", "learning_rate", "meta_layer"]
        names += ["diagnostics/condition_number", "diagnostics/beta_smoothness", path.parent.name]
        assert [name for name in names if name.encode() not in content] == []


def test_where_a_wandb_key_is_looked_for(tmp_path, monkeypatch):
    assert not has_wandb_key()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password abc\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert has_wandb_key()
    monkeypatch.delenv("NETRC")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_wandb_key()
    monkeypatch.setenv("WANDB_API_KEY", "abc")
    assert has_wandb_key()


@pytest.mark.slow
def test_a_terminated_process_resumes_where_it_was(start, gate, compose_tiny, read_rows, weights):
    options = ["protocol=hybrid", "meta_layer=svd_pade", *gated(gate, epoch=2)]
    config = compose_tiny(*options)
    run_dir = Path(config.paths.run_dir)
    process = start(*options)
    wait_for(lambda: (run_dir / "metrics.csv").exists(), process)
    process.send_signal(signal.SIGTERM)
    gate.touch()
    said, _ = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 143, said
    assert "stopped by SIGTERM; run the same command again to go on" in said
    assert not (run_dir / "result.json").exists()
    assert 1 <= len(read_rows(run_dir / "metrics.csv")) <= 2

    train_config(config)

    uninterrupted = compose_tiny(*options, runs="uninterrupted")
    train_config(uninterrupted)
    expected = Path(uninterrupted.paths.run_dir)
    assert read_rows(run_dir / "metrics.csv") == read_rows(expected / "metrics.csv")
    assert all(torch.equal(value, weights(expected)[name]) for name, value in weights(run_dir).items())


@pytest.mark.slow
def test_a_second_ctrl_c_stops_at_once(start, gate, compose_tiny):
    """The gate stays closed: no batch ends by itself."""
    options = [*gated(gate, epoch=1)]
    log = Path(compose_tiny(*options).paths.run_dir) / "train.log"
    process = start(*options)
    wait_for(lambda: log.exists() and "epoch 1 of 4" in log.read_text(), process)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: "SIGINT: stopping after this batch (Ctrl-C stops at once)" in log.read_text(), process)
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert "stopped by SIGINT; run the same command again to go on" in said


@pytest.mark.slow
def test_a_killed_sweep_is_completed_by_running_it_again(start, gate, tmp_path):
    """Every other job waits: two workers finish two jobs and stand still before two more."""
    sweep = ["-m", "meta_layer=isqrt_cov,svd_pade", "protocol=standalone,hybrid", "seed=0,1", *gated(gate, closed="${seed}")]
    sweep += ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra.launcher.batch_size=1"]
    process = start(*sweep)
    wait_for(lambda: len(results(tmp_path / "runs")) == 2, process)
    process.kill()
    gate.touch()
    process.communicate(timeout=TIME_LIMIT)  # workers hold its output open until they end, too
    before = {path: path.stat().st_mtime_ns for path in results(tmp_path / "runs")}
    assert 2 <= len(before) <= 4  # the two that waited may end on their own

    process = start(*sweep)
    said, _ = process.communicate(timeout=TIME_LIMIT)

    assert process.returncode == 0, said
    assert len(results(tmp_path / "runs")) == len(list((tmp_path / "runs" / "digits").iterdir())) == 8
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    assert said.count("already finished, skipped") >= len(before)
    assert all(json.loads(path.read_text())["epochs"] == 4 for path in results(tmp_path / "runs"))
    assert sorted(re.findall(r"^\[(\d)/8\]", said, flags=re.M)) == list("12345678")


@pytest.mark.slow
@pytest.mark.usefixtures("posix")
def test_two_processes_train_each_job_of_a_sweep_and_a_lost_one_fails_its_job_alone(start, tmp_path, gate):
    """The first job, of seed 1, waits until its second process is killed."""
    options = [
        "trainer=ddp",
        "trainer.devices=2",
        "protocol=hybrid",
        "meta_layer=svd_pade",
        *gated(gate, epoch=1, closed="${seed}"),
    ]
    process = start("-m", "seed=1,0", *options)
    first = tmp_path / "runs" / "digits"
    wait_for(lambda: list(first.glob("*seed1*/metrics.csv")), process)
    for worker in children(process.pid):
        os.kill(worker, signal.SIGKILL)
    gate.touch()
    said, _ = process.communicate(timeout=TIME_LIMIT)
    assert process.returncode == 1, said
    assert said.count("MEMBER: 2/2") == 2
    assert "sweep of 2: 1 finished, 1 failed" in said
    (path,) = results(tmp_path / "runs")
    result = json.loads(path.read_text())
    assert (result["seed"], result["epochs"], result["swap_epoch"]) == (0, 4, 2)
    rows = (path.parent / "metrics.csv").read_text().splitlines()
    assert len(rows) == 5
    loss = rows[0].split(",").index("train/loss")
    assert all(float(row.split(",")[loss]) > 0 for row in rows[1:])


def children(process):
    found = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return [int(number) for number in found if b"gcp_repro" in Path(f"/proc/{number}/cmdline").read_bytes()]
