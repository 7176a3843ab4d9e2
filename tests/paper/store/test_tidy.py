import pandas as pd

from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from gcp_repro.paper.store.tidy import is_store
from tests.paper.fake_runs import EPOCHS, write_run, write_sweep


def test_what_was_written_reads_back_as_the_same_settings(tmp_path):
    write_sweep(tmp_path / "runs", layers=("gap", "isqrt_cov", "mpn_cov"), seeds=2)
    first = gather([tmp_path / "runs"])
    first.write_store(tmp_path / "store", "csv")
    assert is_store(tmp_path / "store")
    assert not is_store(tmp_path / "runs")
    second = gather([tmp_path / "store"])
    assert second.problems == ()
    (before,), (after,) = find_settings(first), find_settings(second)
    assert (before.title, before.variants, before.changes) == (after.title, after.variants, after.changes)
    for variant in before.variants:
        assert before.values(variant, "standalone") == after.values(variant, "standalone")
    pd.testing.assert_frame_equal(first.epochs, second.epochs, check_dtype=False)


def test_a_revision_of_digits_stays_text(tmp_path):
    write_run(tmp_path / "runs", git_revision="1234e5")
    gather([tmp_path / "runs"]).write_store(tmp_path / "store", "csv")
    assert gather([tmp_path / "store"]).runs["git_revision"].tolist() == ["1234e5"]


def test_runs_that_are_there_and_in_a_store_count_once(tmp_path):
    write_run(tmp_path / "runs")
    gather([tmp_path / "runs"]).write_store(tmp_path / "store", "csv")
    both = gather([tmp_path / "store", tmp_path / "runs", tmp_path / "store"])
    assert len(both.runs) == 1
    assert len(both.epochs) == EPOCHS
    assert both.problems == ()
