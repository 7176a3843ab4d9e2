"""Processes beside this one, real ones; a trainer that has started them is pretended."""

import os
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace

import pytest

from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.training.processes import others
from gcp_repro.training.processes.others import OtherProcesses
from gcp_repro.training.run import train
from tests.fakes.commands import troubled
from tests.tolerances import TIME_LIMIT

pytestmark = pytest.mark.usefixtures("posix")


@pytest.fixture
def started():
    """Start processes that run some code, as a launcher's; they are ended with the test."""
    launched = []

    def start(*codes):
        launched.extend(subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) for code in codes)
        return SimpleNamespace(strategy=SimpleNamespace(launcher=SimpleNamespace(procs=list(launched))))

    yield start
    for process in launched:
        process.kill()
        process.communicate()


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


def watches():
    return [thread for thread in threading.enumerate() if thread.name == "other processes"]


def test_lightnings_own_watch_is_left_without_processes(started):
    trainer = started(WAITS)
    watched = trainer.strategy.launcher.procs
    (process,) = watched
    with OtherProcesses() as callback:
        callback.setup(trainer, None, "fit")
        assert watched == []
        assert process.poll() is None


@pytest.mark.parametrize(("error", "signum"), [(TrainingInterrupted(signal.SIGTERM), "SIGTERM"), (RuntimeError(), "SIGKILL")])
def test_an_exception_ends_the_others(started, error, signum):
    trainer = started(WAITS)
    (process,) = trainer.strategy.launcher.procs
    callback = OtherProcesses()
    callback.setup(trainer, None, "fit")
    with pytest.raises(type(error)), callback:
        raise error
    assert process.wait(TIME_LIMIT) == -getattr(signal, signum)


def test_this_process_is_killed_if_it_waits_for_a_lost_one(started, killed, monkeypatch, caplog):
    monkeypatch.setattr(others, "GRACE_SECONDS", 0.0)
    with OtherProcesses() as callback:
        callback.setup(started(WAITS, "raise SystemExit(7)"), None, "fit")
        assert killed.wait(TIME_LIMIT)
    assert "another process of this run has ended with status 7" in caplog.text


def test_a_failure_of_its_own_comes_first(started, killed):
    trainer = started(WAITS, "raise SystemExit(7)")
    processes = list(trainer.strategy.launcher.procs)
    callback = OtherProcesses()
    callback.setup(trainer, None, "fit")
    (watch,) = watches()
    processes[1].wait(TIME_LIMIT)
    with pytest.raises(RuntimeError), callback:
        raise RuntimeError
    watch.join(TIME_LIMIT)
    assert not killed.is_set()
    assert processes[0].wait(TIME_LIMIT) == -signal.SIGKILL


def test_processes_that_finish_are_no_failure(started, killed):
    with OtherProcesses() as callback:
        callback.setup(started("pass"), None, "fit")
        (watch,) = watches()
        watch.join(TIME_LIMIT)
    assert not killed.is_set()


def test_nobody_watches_when_a_run_has_diverged(started, killed, compose_tiny, tmp_path, monkeypatch):
    """The others end with 3 then, at their own time; this process may be in the next job of a sweep."""
    monkeypatch.setattr(others, "GRACE_SECONDS", 0.0)
    trainer = started("input(); raise SystemExit(3)")
    (process,) = trainer.strategy.launcher.procs
    setup, begun = OtherProcesses.setup, []

    def setup_with_others(callback, _, module, stage):
        setup(callback, trainer, module, stage)
        begun.extend(watches())

    monkeypatch.setattr(OtherProcesses, "setup", setup_with_others)
    config = compose_tiny(*troubled(mended=tmp_path / "mended", diverging=0))
    assert train(config)["result"]["status"] == "diverged"
    assert process.poll() is None
    process.communicate(b"\n")
    assert process.returncode == 3
    (watch,) = begun
    watch.join(TIME_LIMIT)
    assert not watch.is_alive()
    assert not killed.is_set()


def test_a_run_of_one_process_has_none():
    with OtherProcesses() as callback:
        callback.setup(SimpleNamespace(strategy=SimpleNamespace(launcher=None)), None, "fit")
        assert not watches()
