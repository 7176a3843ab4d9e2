from pathlib import Path

import pytest

from gcp_repro.errors import OptionError
from gcp_repro.training.loop.evaluation_epochs import check_evaluation
from gcp_repro.training.run import train


@pytest.mark.parametrize(("every", "evaluated"), [(1, [0, 1, 2, 3]), (3, [2, 3]), (50, [3])])
def test_the_last_epoch_is_evaluated_whatever_the_number(compose_tiny, read_rows, every, evaluated):
    config = compose_tiny(f"trainer.check_val_every_n_epoch={every}")
    train(config)
    rows = read_rows(Path(config.paths.run_dir) / "metrics.csv")
    assert [int(row["epoch"]) for row in rows if row.get("val/top1_error")] == evaluated


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("limit_val_batches=0", r"validation batches for its errors; got trainer\.limit_val_batches=0: set it to 1"),
        ("check_val_every_n_epoch=0", r"whole number of epochs from 1 on; got 0: with a number of epochs or more only the last"),
        ("check_val_every_n_epoch=null", r"whole number of epochs from 1 on; got None"),
    ],
)
def test_runs_that_would_end_without_errors_are_refused(compose_tiny, option, words):
    with pytest.raises(OptionError, match=words):
        check_evaluation(compose_tiny(f"trainer.{option}").trainer)
