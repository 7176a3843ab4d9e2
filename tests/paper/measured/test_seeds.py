import pytest

from gcp_repro.paper.measured.seeds import seeds_table, spread_by_epoch, stage_ends
from gcp_repro.paper.store.results import gather
from gcp_repro.paper.store.settings import find_settings
from tests.paper.fake_runs import write_run

CURVES = {0: (10.0, 4.0, 1.0), 1: (14.0, 4.0, 2.0), 2: (12.0, 4.0, 3.0)}


@pytest.fixture
def setting(tmp_path):
    """Three seeds of SVD-Pade over three epochs, each a stage of its own, and two of SVD-Trunc."""
    for seed, errors in CURVES.items():
        for layer in ("svd_pade", *(("svd_trunc",) if seed else ())):
            run = write_run(tmp_path, meta_layer=layer, seed=seed, epochs=3)
            rows = [f"{epoch},{error},{0.1**epoch}" for epoch, error in enumerate(errors)]
            (run / "metrics.csv").write_text("\n".join(("epoch,val/top1_error,learning_rate", *rows)) + "\n")
    (only,) = find_settings(gather([tmp_path]))
    return only


def test_spread_is_that_of_the_seeds_epoch_by_epoch(setting):
    pade, trunc = (next(v for v in setting.variants if v.meta_layer == name) for name in ("svd_pade", "svd_trunc"))
    spread = spread_by_epoch(setting, pade)
    assert spread["sd"].tolist() == pytest.approx([2.0, 0.0, 1.0])
    assert spread["range"].tolist() == [4.0, 0.0, 2.0]
    assert len(spread_by_epoch(setting, trunc)) == 0  # two seeds


def test_stages_end_before_each_decay_and_with_the_last_epoch(sweep_setting, setting):
    assert stage_ends(setting) == [0, 1, 2]
    assert stage_ends(sweep_setting) == [4, 9, 14]


def test_layers_stand_beside_the_papers_statement(setting):
    paper, pade = seeds_table([setting]).rows
    assert [cell.text for cell in paper][1:3] == ["SVD-Pade", "5"]
    assert [cell.text for cell in pade] == ["digits", "svd_pade", "3", "2.00", "0.00", "1.00", "4.00", "0.00", "2.00"]
