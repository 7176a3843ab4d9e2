"""Jobs by the engines that people use; only when asked for by `-m launcher`, and where the engine is installed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import TINY
from tests.tolerances import TIME_LIMIT

ROOT = Path(__file__).parents[2]
SCRIPTS = Path(sys.executable).parent


def pytest_collection_modifyitems(config, items):
    if "launcher" not in config.getoption("-m"):
        for item in items:
            if item.get_closest_marker("launcher"):
                item.add_marker(pytest.mark.skip(reason="started by -m launcher alone: make test-launchers"))


@pytest.fixture
def surroundings(tmp_path):
    """The environment of a job: this checkout, one thread, runs in a folder of the test."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "GCP_RUNS_DIR": str(tmp_path / "runs"),
        "PYTHONPATH": str(ROOT),
        "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}",
    }


@pytest.fixture
def gcp_train(tmp_path, surroundings):
    """Run `gcp-train` on tiny digits to its end; returns what it said."""

    def run(*arguments):
        flags, overrides = [a for a in arguments if a == "-m"], [a for a in arguments if a != "-m"]
        done = subprocess.run(
            [sys.executable, "-m", "gcp_repro.cli.train", *flags, *TINY, *overrides],
            cwd=tmp_path, env=surroundings, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIME_LIMIT,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


@pytest.fixture
def until():
    """Wait for something to come true, or fail with what it waited for."""

    def wait(condition, what, seconds=300):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"waited {seconds} s for {what}"
            time.sleep(0.5)

    return wait
