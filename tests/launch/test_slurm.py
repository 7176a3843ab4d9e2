"""A real SLURM of one node on this machine: arrays, warnings before the time limit, jobs that it kills."""

import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from gcp_repro.runs import RunDirectory, read_json
from tests.conftest import TINY
from tests.launch.conftest import ROOT

pytestmark = pytest.mark.launcher

SCRIPT = ROOT / "scripts" / "one_node_slurm.sh"
BINARIES = f"{os.environ['PATH']}{os.pathsep}/usr/sbin"
ENDLESS = ["schedule.epochs=100000", "schedule.milestones=[]"]
ONE = ["trainer=slurm", "trainer.accelerator=cpu"]


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The configuration file of a running SLURM."""
    if any(shutil.which(name, path=BINARIES) is None for name in ("slurmctld", "slurmd", "munged", "srun")) or os.getuid():
        pytest.skip("needs root and SLURM: apt install slurm-wlm munge")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "start", folder], check=True, timeout=60, stdout=subprocess.DEVNULL)
    yield folder / "slurm.conf"
    subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)


@pytest.fixture
def ask(slurm, surroundings, tmp_path):
    """Run a command of SLURM; returns what it says."""
    surroundings["SLURM_CONF"] = str(slurm)

    def run(*command):
        done = subprocess.run(command, cwd=tmp_path, env=surroundings, text=True, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def submit(ask, tmp_path, surroundings):
    """Put a script into the queue that trains digits; returns the job's number. It is cancelled with the test."""
    jobs = []

    def sbatch(*overrides, options=(), before="", unquoted=""):
        script = tmp_path / f"job{len(jobs)}.sh"
        command = shlex.join(["gcp-train", *TINY, *overrides])
        script.write_text(f"#!/bin/sh\n{before}\nexec srun {command} {unquoted}\n")
        out = ["--output", str(tmp_path / "%A_%a.out"), "--open-mode=append", "--requeue", "--mem=4000"]
        jobs.append(ask("sbatch", "--parsable", *out, *options, str(script)))
        return jobs[-1]

    yield sbatch
    for job in jobs:
        subprocess.run(["scancel", job], env=surroundings, timeout=60)


def state_of(ask, job):
    shown = dict(entry.split("=", 1) for entry in ask("scontrol", "show", "job", job).split() if "=" in entry)
    return shown["JobState"]


def logs(tmp_path):
    return "\n".join(path.read_text() for path in tmp_path.glob("runs/digits/*/train.log"))


def saved(tmp_path):
    return [*tmp_path.glob("runs/digits/*/checkpoints/last.ckpt")]


def test_two_tasks_are_warned_before_the_time_limit_go_back_into_the_queue_and_go_on(submit, ask, until, tmp_path):
    job = submit(*ENDLESS, *ONE, options=["--ntasks-per-node=2", "--time=5", "--signal=USR1@180"])
    until(lambda: "SIGUSR1: stopping after this batch" in logs(tmp_path), "the warning of SLURM")
    until(lambda: state_of(ask, job) == "PENDING", "the job to be back in the queue")
    assert saved(tmp_path)
    ask("scontrol", "update", f"JobId={job}", "StartTime=now")  # SLURM lets it wait for two minutes
    until(lambda: "resuming from" in logs(tmp_path), "the job to go on")
    assert len([*(tmp_path / "runs" / "digits").iterdir()]) == 1


def test_a_job_that_is_killed_by_time_or_memory_goes_on_by_the_same_command(submit, ask, until, tmp_path, gcp_train):
    hog = "python3 -c 'import time; x = b\"1\" * (5 * 2**30); time.sleep(60)'"
    wait = f"(while ! ls {tmp_path}/runs/digits/*/checkpoints/last.ckpt > /dev/null 2>&1; do sleep 1; done; exec {hog}) &"
    job = submit(*ENDLESS, *ONE, options=["--ntasks=1", "--time=5"], before=wait)
    until(lambda: state_of(ask, job) not in ("PENDING", "RUNNING", "COMPLETING"), "the job to be killed")
    assert state_of(ask, job) in ("OUT_OF_MEMORY", "CANCELLED", "FAILED")
    assert saved(tmp_path)
    job = submit(*ENDLESS, *ONE, options=["--ntasks=1", "--time=1"])
    until(lambda: state_of(ask, job) == "TIMEOUT", "the job to reach its limit")
    assert logs(tmp_path).count("resuming from") == 1
    assert "SIGTERM: stopping after this batch" in logs(tmp_path)  # which SLURM sends before it kills
    with pytest.raises(AssertionError, match=r"stopped by trainer\.max_steps"):
        gcp_train(*ENDLESS, "+trainer.max_steps=1")
    assert logs(tmp_path).count("resuming from") == 2


def test_the_tasks_of_an_array_are_runs_of_their_own(submit, ask, until, tmp_path):
    submit(*ONE, options=["--array=0-1", "--ntasks=1"], unquoted="seed=$SLURM_ARRAY_TASK_ID")
    until(lambda: len([*tmp_path.glob("runs/digits/*/result.json")]) == 2, "two results")
    results = [read_json(RunDirectory(path).result) for path in (tmp_path / "runs" / "digits").iterdir()]
    assert sorted(result["seed"] for result in results) == [0, 1]


def test_a_sweep_is_an_array_of_jobs_of_submitit(slurm, surroundings, gcp_train, until, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    surroundings["SLURM_CONF"] = str(slurm)
    node = ["hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=4", "trainer.accelerator=cpu", "trainer.num_threads=1"]
    gcp_train("-m", "launch=slurm", *node, "seed=0,1")
    results = [read_json(RunDirectory(path).result) for path in (tmp_path / "runs" / "digits").iterdir()]
    assert [result["status"] for result in results] == ["finished"] * 2
    assert Path(tmp_path / "runs" / ".submitit").is_dir()
