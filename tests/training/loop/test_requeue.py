import signal
from pathlib import Path

import pytest

from gcp_repro.runs import scheduler
from gcp_repro.runs.interruption import MAX_STEPS, MAX_TIME, TrainingInterrupted
from gcp_repro.training.loop import requeue as module
from gcp_repro.training.loop.requeue import handed_over
from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.run import train

pytestmark = pytest.mark.usefixtures("posix")


@pytest.fixture
def put_back(monkeypatch):
    """The jobs that were put back into a queue, by a stand-in for SLURM."""
    jobs = []
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setattr(module, "put_back", lambda job: jobs.append(job))
    return jobs


def warn_at(monkeypatch, epoch, batch, number):
    def on_train_batch_start(self, _, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch):
            signal.raise_signal(number)

    monkeypatch.setattr(GCPModule, "on_train_batch_start", on_train_batch_start)


def test_a_warned_run_saves_itself_puts_its_job_back_and_goes_on_exactly(compose_tiny, monkeypatch, put_back, read_rows):
    whole, warned = compose_tiny(runs="whole"), compose_tiny("trainer.requeue=true")
    train(whole)
    with monkeypatch.context() as patch:
        patch.delenv("SLURM_JOB_ID")  # Lightning would ask how many tasks the job has
        warn_at(patch, 1, 2, signal.SIGUSR1)
        patch.setattr(module, "job_name", lambda: "7")
        with pytest.raises(TrainingInterrupted, match="stopped by SIGUSR1"):
            train(warned)
        assert put_back == ["7"]
    monkeypatch.delenv("SLURM_JOB_ID")
    train(warned)
    expected, found = (read_rows(Path(config.paths.run_dir) / "metrics.csv") for config in (whole, warned))
    assert found == expected


def test_whoever_listened_before_hears_of_the_warning_once_the_run_is_saved(put_back):
    heard = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: heard.append(number))
    try:
        with pytest.raises(TrainingInterrupted), handed_over(requeue=True):
            raise TrainingInterrupted(signal.SIGUSR2)
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert heard == [signal.SIGUSR2]
    assert put_back == []


@pytest.mark.parametrize(
    ("reason", "requeue", "jobs"),
    [("SIGUSR1", True, ["7"]), ("SIGUSR1", False, []), ("SIGTERM", True, []), (MAX_TIME, True, ["7"]),
     (MAX_STEPS, True, [])],
)  # fmt: skip
def test_only_a_limit_of_time_puts_a_job_back(put_back, reason, requeue, jobs):
    with pytest.raises(TrainingInterrupted), handed_over(requeue=requeue):
        raise TrainingInterrupted(getattr(signal, reason, reason))
    assert put_back == jobs


def test_outside_of_jobs_there_is_a_line_instead(monkeypatch, caplog):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(TrainingInterrupted), handed_over(requeue=True):
        raise TrainingInterrupted(signal.SIGUSR1)
    assert "cannot be put back into the queue: this is no job of SLURM; run the same command again" in caplog.text
    assert scheduler.PREEMPTIONS == (signal.SIGUSR1, signal.SIGUSR2)
