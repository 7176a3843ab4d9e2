"""Lines of JSON through a run that is stopped, damaged and resumed."""

import json

import pytest

from gcp_repro.runs import RunDirectory
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.training.run import train


def test_a_line_an_epoch_each_once_though_the_run_is_stopped(compose_tiny, read_rows):
    run = RunDirectory(compose_tiny().paths.run_dir)
    with pytest.raises(TrainingInterrupted):
        train(compose_tiny("+trainer.max_steps=9"))
    first = run.lines.read_text()
    assert [json.loads(line)["epoch"] for line in first.splitlines()] == [0, 1]
    run.lines.write_text(first + '{"epoch": 2, "of": "an epoch that is undone"}\n{"epoch": 3, "to')
    train(compose_tiny())
    lines = run.lines.read_text().splitlines()
    assert "\n".join(lines[:2]) + "\n" == first
    rows = [json.loads(line) for line in lines]
    assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
    assert [row["epochs"] for row in rows] == 4 * [4]
    expected = [float(row["val/top1_error"]) for row in read_rows(run.metrics)]
    assert [row["val/top1_error"] for row in rows] == expected
