import pytest

from gcp_repro.cli import reproduce
from gcp_repro.cli.reproduce import Plan, main, plans
from gcp_repro.runs import run_directory


@pytest.mark.parametrize("quick", [True, False])
def test_every_run_is_a_configuration_of_its_own(compose_train, quick):
    planned = plans(quick)
    assert len({run_directory(compose_train(*plan.overrides)).path for plan in planned}) == len(planned)


def test_the_short_form_is_part_of_the_whole():
    assert {plan.overrides for plan in plans(quick=True)} < {plan.overrides for plan in plans(quick=False)}


def test_runs_and_report_are_written_and_kept(monkeypatch, tmp_path, tiny_overrides, capsys):
    overrides = tuple(override for override in tiny_overrides if not override.startswith("trainer.num_threads"))
    monkeypatch.setattr(reproduce, "plans", lambda quick: [Plan("digits", ("experiment=digits", *overrides))])
    arguments = ["--quick", "--jobs", "1", "--runs-dir", str(tmp_path / "runs"), "--report", str(tmp_path / "report.html")]
    for _ in range(2):
        assert main(arguments) == 0
        said = capsys.readouterr().out
        assert "[  1/1] error" in said
        assert "1 run (0 diverged)" in said
    assert len([*tmp_path.glob("runs/*/*/result.json")]) == 1
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")
