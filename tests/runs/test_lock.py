"""One process a run, whatever becomes of it; with real processes."""

import subprocess
import sys

import pytest

from gcp_repro.errors import StorageError
from gcp_repro.runs import RunDirectory, RunLocked, run_lock
from gcp_repro.runs.lock import owner
from gcp_repro.runs.states import state_of

HOLD = """
import os, sys
from gcp_repro.runs import RunDirectory, run_lock
with run_lock(RunDirectory(sys.argv[1])):
    if os.fork() == 0:  # as a loader's worker; like its parent it lives until the test lets go of its input
        sys.stdin.read()
        os._exit(0)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path, posix):
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()  # closes the pipe that the child waits for


def test_the_second_is_told_who_the_first_is(tmp_path, holder):
    run = RunDirectory(tmp_path / "run")
    with (
        pytest.raises(RunLocked, match=rf"training here already: .*run: host \S+, process {holder.pid}, since 20\d\d-"),
        run_lock(run),
    ):
        pass
    assert owner(run)["process"] == holder.pid
    assert state_of(run).state == "running"


def test_the_lock_dies_with_its_owner_even_if_a_child_lives_on(tmp_path, holder):
    holder.kill()
    holder.wait()
    run = RunDirectory(tmp_path / "run")
    assert owner(run) is None
    with run_lock(run):
        assert state_of(run).state == "running"
    assert state_of(run).state == "interrupted"


def test_an_ended_owner_leaves_no_note(tmp_path):
    run = RunDirectory(tmp_path / "a" / "b")
    with pytest.raises(KeyboardInterrupt), run_lock(run):
        raise KeyboardInterrupt
    assert [path.name for path in run.path.iterdir()] == [".lock"]
    with run_lock(run):
        pass


def test_a_place_that_is_no_folder_is_refused(tmp_path):
    (tmp_path / "runs").write_text("a file")
    words = r"writing .*runs/run failed \(Not a directory\): make room or choose another place"
    with pytest.raises(StorageError, match=words), run_lock(RunDirectory(tmp_path / "runs" / "run")):
        pass
