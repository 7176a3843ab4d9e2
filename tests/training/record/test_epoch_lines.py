"""The lines of a run without a terminal."""

import logging
import re

import pytest

from gcp_repro.training.run import train


@pytest.mark.parametrize(("every", "evaluated"), [(1, [True, True]), (2, [False, True])])
def test_a_line_an_epoch_with_the_error_where_there_was_an_evaluation(compose_tiny, caplog, every, evaluated):
    overrides = ("schedule.epochs=2", "schedule.milestones=[1]", f"trainer.check_val_every_n_epoch={every}")
    with caplog.at_level(logging.INFO, logger="gcp_repro.training.record.epoch_lines"):
        train(compose_tiny(*overrides, "trainer.progress_bar=false"))
    lines = [record.message for record in caplog.records if record.name == "gcp_repro.training.record.epoch_lines"]
    pattern = r"epoch (\d) of 2: training loss \d\.\d+(, error \d+\.\d\d %)?, \d+\.\d s"
    found = [re.fullmatch(pattern, line) for line in lines]
    assert [match[1] for match in found] == ["1", "2"]
    assert [bool(match[2]) for match in found] == evaluated
