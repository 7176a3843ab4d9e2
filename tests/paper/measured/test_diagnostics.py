import pytest

from gcp_repro.paper.measured.diagnostics import condition_table, diagnostics_columns, diagnostics_table, metric_name
from tests.paper.fake_runs import cells_of


def test_every_diagnostics_column_is_shown(sweep_setting):
    names = diagnostics_columns(sweep_setting)
    assert names == [
        "diagnostics/condition_number",
        "diagnostics/condition_number_rank",
        "diagnostics/beta_smoothness",
        "diagnostics/gradient_error",
    ]
    row = cells_of(diagnostics_table(sweep_setting), "gap")
    assert row["", "condition number"].value > 1e12
    assert row["", "gradient error"].origin == "missing"


def test_condition_number_by_stage_beside_table_1(sweep_setting):
    table = condition_table([sweep_setting])
    assert [cell.text for cell in table.rows[0][2:5]] == ["3.41e14", "5.36e13", "1.70e13"]
    measured = next(row for row in table.rows if row[1].text == "mpn_cov")
    assert measured[2].value == pytest.approx(3.4e14 + 1e13)  # the generator's first epoch
    assert measured[2].value > measured[3].value > measured[4].value
    assert measured[5].value == pytest.approx(200)


def test_names_of_metrics():
    assert metric_name("train/top5_error") == "training top-5 error"
