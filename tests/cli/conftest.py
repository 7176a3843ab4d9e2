"""`gcp-train` and `gcp-eval` as a user runs them, in this process or in one of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from gcp_repro.cli import train
from gcp_repro.training.processes.console import SWEEP_JOBS
from tests.fakes.commands import flags_first

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(monkeypatch, tmp_path, tiny_overrides):
    """Run `gcp-train` or `gcp-eval` in this process, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(SWEEP_JOBS, "")  # set by sweeps; put back after the test

    def run(main, *arguments):
        overrides = tiny_overrides if main is train.main else []
        monkeypatch.setattr(sys, "argv", ["gcp-train", *flags_first(*overrides, *arguments)])
        main()

    return run


@pytest.fixture
def start(tmp_path, tiny_overrides):
    """Start `gcp-train` as a process of its own; it is ended with the test."""
    processes = []

    def popen(*arguments):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "GCP_RUNS_DIR": str(tmp_path / "runs"), "PYTHONPATH": str(ROOT)}
        process = subprocess.Popen(
            [sys.executable, "-m", "gcp_repro.cli.train", *flags_first(*tiny_overrides, *arguments)],
            cwd=tmp_path, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        processes.append(process)
        return process

    yield popen
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def gate(tmp_path):
    """The file that opens the gate of `gated`."""
    return tmp_path / "open"
