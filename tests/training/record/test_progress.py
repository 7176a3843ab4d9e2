"""What is seen of a run within its epochs: in lines, in a file, by loggers."""

import json
import logging
import re

import pytest
from pytorch_lightning.loggers import CSVLogger

from gcp_repro.errors import OptionError
from gcp_repro.runs import RunDirectory
from gcp_repro.training.record import progress
from gcp_repro.training.run import train

LINE = (
    r"epoch (\d) of 2, step (\d) of 4: loss \d\.\d+, errors \d+\.\d\d % and \d+\.\d\d %, rate 0\.\d+, \d+ images/s"
    r"(?:, \d+ (?:s|min \d+ s) left)"
)
SHORT = ("schedule.epochs=2", "schedule.milestones=[1]", "trainer.progress_bar=false")


@pytest.fixture
def lines(caplog):
    def read():
        return [record.message for record in caplog.records if record.name == progress.__name__]

    with caplog.at_level(logging.INFO, logger=progress.__name__):
        yield read


@pytest.mark.parametrize(
    ("options", "places"),
    [
        (["progress.steps=2"], [("1", "2"), ("1", "4"), ("2", "2"), ("2", "4")]),
        (["progress.steps=3", "trainer.accumulate_grad_batches=2"], [("1", "3"), ("2", "2")]),
        (["progress.seconds=0"], [(epoch, step) for epoch in "12" for step in "1234"]),
        (["progress.seconds=null"], []),
        (["progress=null"], []),
        (["progress.steps=2", "trainer.progress_bar=true"], []),
    ],
)
def test_lines_come_as_often_as_asked(compose_tiny, lines, options, places):
    train(compose_tiny(*SHORT, *options))
    assert [re.fullmatch(LINE, line).groups() for line in lines()] == places
    assert "rate 0.1," in "".join(lines()[:1] or ["rate 0.1,"])


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("progress.steps=0", "steps must be a whole number >= 1, or null; got 0 for progress"),
        ("progress.logged_steps=0", "logged_steps must be a whole number >= 1, or null; got 0 for progress"),
        ("progress.seconds=-1", "seconds must be a number >= 0, or null; got -1 for progress"),
        ("+progress.step=1", "progress has no option 'step'; nearest: 'steps'"),
        ("progress=5", "progress needs seconds, steps, logged_steps, or null; got 5: write"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(compose_tiny, tmp_path, option, message):
    with pytest.raises(OptionError, match=message):
        train(compose_tiny(option))
    assert not (tmp_path / "runs").exists()


def test_the_line_has_the_epochs_errors_and_the_steps_loss(compose_tiny, lines, read_rows):
    """At the end of an epoch its errors are those of the row; one batch an epoch has the row's loss, too, unlike two halves."""
    config = compose_tiny(*SHORT, "progress.steps=1", "data.batch_size=40", "trainer.accumulate_grad_batches=2")
    train(config)
    for line, row in zip(lines(), read_rows(RunDirectory(config.paths.run_dir).metrics), strict=True):
        assert f"errors {float(row['train/top1_error']):.2f} % and {float(row['train/top5_error']):.2f} %" in line
        assert f"rate {float(row['learning_rate']):.3g}," in line
        assert 0.5 < float(re.search(r"loss ([\d.]+)", line)[1]) / float(row["train/loss"]) < 2


def test_the_file_says_how_far_the_run_is(compose_tiny):
    config = compose_tiny(*SHORT)
    train(config)
    state = json.loads(RunDirectory(config.paths.run_dir).progress.read_text())
    assert (state["epoch"], state["epochs"], state["step"], state["steps"], state["seconds_left"]) == (2, 2, 0, 4, 0)


def test_loggers_get_steps_and_epochs(compose_tiny, tmp_path, read_rows):
    logger = {"_target_": f"{CSVLogger.__module__}.CSVLogger", "save_dir": tmp_path, "name": "log", "version": "v"}
    options = [f"+logger.table.{name}={value}" for name, value in logger.items()]
    config = compose_tiny(*SHORT, *options, "progress.logged_steps=2", "progress.seconds=null")
    train(config)
    rows = read_rows(tmp_path / "log" / "v" / "metrics.csv")
    assert [row["step/number"] for row in rows if row["step/loss"]] == ["2", "4", "6", "8"]
    assert [row["epoch"] for row in rows if row["val/top1_error"]] == ["0", "1"]
