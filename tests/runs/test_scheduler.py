import pytest

from gcp_repro.runs.scheduler import job_name, put_back


def test_a_task_of_an_array_is_not_the_whole_array():
    """SLURM gives one task the array's own number as SLURM_JOB_ID."""
    assert job_name({}) is None
    assert job_name({"SLURM_JOB_ID": "9"}) == "9"
    assert job_name({"SLURM_JOB_ID": "9", "SLURM_ARRAY_JOB_ID": "9", "SLURM_ARRAY_TASK_ID": "1"}) == "9_1"


@pytest.mark.parametrize(("script", "fault"), [("exit 0", None), ("echo no such job >&2; exit 1", "no such job")])
def test_the_scheduler_is_asked_by_its_own_command(tmp_path, monkeypatch, script, fault):
    command = tmp_path / "scontrol"
    command.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/asked\n{script}\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert put_back("9_1") == fault
    assert (tmp_path / "asked").read_text() == "requeue 9_1\n"


def test_without_a_scheduler_there_is_a_reason(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "scontrol" in str(put_back("9"))
