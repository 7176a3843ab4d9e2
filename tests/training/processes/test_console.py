import io
import logging
import multiprocessing
import sys
from types import SimpleNamespace

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from gcp_repro.training.processes import console
from gcp_repro.training.processes.console import RESULT, hush, in_parallel_worker, show_progress, tell


@pytest.fixture
def job(monkeypatch):
    """Pretend to be a job of Hydra's."""

    def set_job(mode, number=2):
        config = SimpleNamespace(mode=mode, job=SimpleNamespace(num=number))
        monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
        monkeypatch.setattr(HydraConfig, "get", lambda: config)

    return set_job


@pytest.mark.parametrize(
    ("mode", "jobs", "message"),
    [
        (RunMode.RUN, None, "done: 5"),
        (RunMode.MULTIRUN, "8", "[3/8] done: 5"),
        (RunMode.MULTIRUN, None, "[3] done: 5"),
    ],
)
def test_the_last_line_of_a_run_tells_its_place_in_the_sweep(job, monkeypatch, caplog, mode, jobs, message):
    job(mode)
    monkeypatch.delenv(console.SWEEP_JOBS, raising=False)
    if jobs:
        monkeypatch.setenv(console.SWEEP_JOBS, jobs)
    with caplog.at_level(logging.INFO):
        tell("done: %d", 5)
    assert caplog.messages == [message]
    assert caplog.records[0].levelname == "RESULT"


def test_a_hushed_console_shows_results_and_the_file_everything(tmp_path):
    screen = io.StringIO()
    handlers = [logging.StreamHandler(screen), logging.FileHandler(tmp_path / "log")]
    root = logging.getLogger()
    for handler in handlers:
        handler.setLevel(logging.INFO)
        root.addHandler(handler)
    try:
        hush()
        assert [handler.level for handler in handlers] == [RESULT, logging.INFO]
    finally:
        for handler in handlers:
            root.removeHandler(handler)
            handler.close()


def test_a_bar_is_drawn_by_one_process_on_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: True))
    assert show_progress("auto")
    monkeypatch.setattr(multiprocessing.current_process(), "_name", "LokyProcess-1")
    assert in_parallel_worker()
    assert not show_progress("auto")
    assert show_progress(True)
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(isatty=lambda: False))
    assert not show_progress("auto")
    assert not show_progress(False)
