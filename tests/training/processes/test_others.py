"""Processes beside this one, real ones; a trainer that has started them is pretended."""

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from gcp_repro.training.processes import others
from gcp_repro.training.processes.others import OtherProcesses
from tests.tolerances import TIME_LIMIT


@pytest.fixture
def started():
    """Start processes that run some code, as a launcher's; they are ended with the test."""
    launched = []

    def start(*codes):
        launched.extend(subprocess.Popen([sys.executable, "-c", code]) for code in codes)
        return SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(procs=list(launched))))

    yield start
    for process in launched:
        process.kill()
        process.wait()


WAITS = "import time; time.sleep(1000)"


@pytest.fixture
def killed(monkeypatch):
    """Whether this process would have been killed."""
    happened = threading.Event()

    def kill(process, signum):
        assert (process, signum) == (os.getpid(), signal.SIGKILL)
        happened.set()

    monkeypatch.setattr(others, "os", SimpleNamespace(kill=kill, getpid=os.getpid))
    return happened


def test_lightnings_own_watch_is_left_without_processes(started):
    trainer = started(WAITS)
    watched = trainer.strategy.launcher.procs
    (process,) = watched
    callback = OtherProcesses()
    callback.setup(trainer, None, "fit")
    assert watched == []
    callback.end(signal.SIGTERM)
    assert process.wait(TIME_LIMIT) == -signal.SIGTERM


def test_this_process_is_killed_if_it_waits_for_a_lost_one(started, killed, monkeypatch, caplog):
    monkeypatch.setattr(others, "GRACE_SECONDS", 0.0)
    OtherProcesses().setup(started(WAITS, "raise SystemExit(7)"), None, "fit")
    assert killed.wait(TIME_LIMIT)
    assert "another process of this run has ended with status 7" in caplog.text


def test_a_failure_of_its_own_comes_first(started, killed):
    trainer = started(WAITS, "raise SystemExit(7)")
    processes = list(trainer.strategy.launcher.procs)
    callback = OtherProcesses()
    callback.setup(trainer, None, "fit")
    (watch,) = (thread for thread in threading.enumerate() if thread.name == "other processes")
    processes[1].wait(TIME_LIMIT)
    callback.end(signal.SIGKILL)
    watch.join(TIME_LIMIT)
    assert not killed.is_set()
    assert processes[0].wait(TIME_LIMIT) == -signal.SIGKILL


def test_processes_that_finish_are_no_failure(started, killed):
    OtherProcesses().setup(started("pass"), None, "fit")
    (watch,) = (thread for thread in threading.enumerate() if thread.name == "other processes")
    watch.join(TIME_LIMIT)
    assert not killed.is_set()


def test_a_run_of_one_process_has_none():
    callback = OtherProcesses()
    callback.setup(SimpleNamespace(strategy=SimpleNamespace(launcher=None)), None, "fit")
    callback.end(signal.SIGTERM)
    assert not [thread for thread in threading.enumerate() if thread.name == "other processes"]
