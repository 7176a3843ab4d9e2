import csv
import json
import re
import sys
from pathlib import Path

import pytest
from wandb.errors import UsageError

from gcp_repro.cli import dashboard
from gcp_repro.training.run import train

pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style:DeprecationWarning")  # wandb-workspaces, when it is imported


@pytest.fixture
def workspace(tmp_path, capsys):
    """The workspace as W&B's library serialises it."""
    pytest.importorskip("wandb_workspaces")
    dashboard.main(
        ["--entity", "me", "--project", "gcp", "--experiment", "digits", "--dry-run", str(tmp_path / "workspace.json")]
    )
    assert "4 sections -> " in capsys.readouterr().out
    return json.loads((tmp_path / "workspace.json").read_text())


@pytest.fixture
def logged(compose_tiny, monkeypatch):
    """A hybrid run with all diagnostics and W&B offline: names of its metrics, and what it sends."""
    monkeypatch.setenv("WANDB_SILENT", "true")
    config = compose_tiny("callbacks=default", "protocol=hybrid", "meta_layer=svd_pade", "logger=wandb")
    train(config)
    run_dir = Path(config.paths.run_dir)
    (sent,) = run_dir.glob("wandb/offline-run-*/*.wandb")
    return next(csv.reader((run_dir / "metrics.csv").read_text().splitlines())), sent.read_bytes()


def panels(workspace):
    return [panel for section in workspace["spec"]["section"]["panelBankConfig"]["sections"] for panel in section["panels"]]


def test_workspace_has_the_curves_of_the_paper(workspace):
    shown = {panel["config"]["chartTitle"]: panel for panel in panels(workspace)}
    for title, metric, by in (
        ("Top-1 error by layer (%)", "val/top1_error", "meta_layer"),
        ("Top-1 error by protocol (%)", "val/top1_error", "protocol"),
        ("Condition number", "diagnostics/condition_number", "meta_layer"),
        ("Effective beta-smoothness by protocol", "diagnostics/beta_smoothness", "protocol"),
        ("Relative error of the gradient", "diagnostics/gradient_error", "meta_layer"),
        ("Epoch of the hybrid swap", "config.swap_epoch.value", "meta_layer"),
        ("Final top-1 error by layer (%)", "val/top1_error", "meta_layer"),
    ):
        config = shown[title]["config"]
        assert config["metrics"] == [metric]
        assert config["groupBy"] == f"{by}.value.name"
    assert shown["Condition number"]["config"]["yLogScale"] is True


def test_final_errors_are_columns_of_the_table(workspace):
    (runs,) = workspace["spec"]["section"]["runSets"]
    assert runs["runFeed"]["columnPinned"]["summary:val/top1_error"]
    assert [group["name"] for group in runs["grouping"]] == [
        "experiment_name.value",
        "meta_layer.value.name",
        "protocol.value.name",
    ]


def test_the_runs_of_one_experiment(workspace):
    (runs,) = workspace["spec"]["section"]["runSets"]
    (condition,) = runs["filters"]["filters"]
    assert condition["key"] == {"section": "config", "name": "experiment_name"}
    assert (condition["op"], condition["value"]) == ("=", "digits")


def test_runs_send_what_the_dashboard_shows(logged):
    columns, sent = logged
    for spec in (spec for specs in dashboard.SECTIONS.values() for spec in specs):
        assert spec.metric in columns or spec.metric == "swap_epoch"
        assert spec.metric.encode() in sent
    for column in dashboard.COLUMNS:
        if column.startswith("summary:"):
            assert column.removeprefix("summary:") in columns
    for part in (b"swap_epoch", b"warmup_epochs", b"svd_pade", b"digits", b"hybrid"):  # configuration, group, job type, tags
        assert part in sent


def test_without_a_login_the_dashboard_says_what_to_do(monkeypatch, capsys):
    workspaces = pytest.importorskip("wandb_workspaces.workspaces")
    monkeypatch.setattr(sys, "argv", ["gcp-dashboard", "--entity", "me", "--project", "gcp"])

    def refuse(self):
        raise UsageError("No API key configured.")

    monkeypatch.setattr(workspaces.Workspace, "save", refuse)
    with pytest.raises(SystemExit, match=r"^2$"):
        dashboard.main()
    words = r"needs a login and .*me/gcp: UsageError: No API key.* run `wandb login`, .*--dry-run FILE"
    assert re.search(words, capsys.readouterr().err)


def test_without_the_library_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    with pytest.raises(SystemExit, match=r"^2$"):
        dashboard.main(["--entity", "me", "--project", "gcp"])
    assert 'not installed: pip install "gcp_repro[wandb-dashboard]"' in capsys.readouterr().err
