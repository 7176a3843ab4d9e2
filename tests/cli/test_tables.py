import csv
import importlib.util
import io
import os

import pandas as pd
import pytest

from gcp_repro.cli.tables import main
from tests.paper.fake_runs import write_broken, write_run


def test_html_is_written_and_problems_are_told(tmp_path, capsys):
    write_run(tmp_path / "runs", status="diverged")
    write_broken(tmp_path / "runs")
    page = tmp_path / "out" / "index.html"
    main([str(tmp_path / "runs"), "--output", str(page)])
    assert page.read_text().startswith("<!doctype html>")
    told = capsys.readouterr().out
    assert "2 runs (1 diverged)" in told
    assert "1 foreign, 1 incomplete, 5 unreadable" in told


@pytest.mark.parametrize(("form", "name", "start"), [("md", "t.md", "## "), ("latex", "t.tex", "% needs")])
def test_documents_for_papers(tmp_path, form, name, start):
    write_run(tmp_path / "runs")
    main([str(tmp_path / "runs"), "--format", form, "--output", str(tmp_path / name)])
    text = (tmp_path / name).read_text()
    assert text.startswith(start)
    assert "904" in text


def test_csv_is_a_folder_with_the_tidy_table_and_one_file_a_table(tmp_path):
    write_run(tmp_path / "runs", final=3.25)
    main([str(tmp_path / "runs"), "--format", "csv", "--output", str(tmp_path / "csv")])
    rows = list(csv.DictReader((tmp_path / "csv" / "runs.csv").read_text().splitlines()))
    assert [row["final_top1_error"] for row in rows] == ["3.25"]
    assert {"table6.csv", "table7.csv", "table8.csv", "table9.csv", "plan.csv"} <= {
        path.name for path in (tmp_path / "csv").iterdir()
    }


def test_parquet_holds_runs_and_epochs(tmp_path):
    pytest.importorskip("pyarrow")
    write_run(tmp_path / "runs", final=3.25)
    write_run(tmp_path / "runs", seed=1, status="diverged")
    main([str(tmp_path / "runs"), "--format", "parquet", "--output", str(tmp_path / "store")])
    runs = pd.read_parquet(tmp_path / "store" / "runs.parquet")
    assert runs["final_top1_error"].tolist()[0] == 3.25
    assert runs["status"].tolist() == ["finished", "diverged"]
    epochs = pd.read_parquet(tmp_path / "store" / "epochs.parquet")
    assert set(epochs["run"]) == set(runs["run"])


def test_parquet_without_pyarrow_is_explained(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["--format", "parquet", "--output", str(tmp_path / "store")])
    assert (
        'written by pyarrow, which is not installed: pip install "gcp_repro[parquet]", or use --format csv'
        in capsys.readouterr().err
    )
    assert not (tmp_path / "store").exists()


def test_measured_times_are_read_from_bench_files(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main(["--bench", str(tmp_path / "none.csv"), "--output", str(tmp_path / "index.html")])
    assert "does not exist: run gcp-bench layers" in capsys.readouterr().err


def test_default_output_is_reports_index_html(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main([])
    assert (tmp_path / "reports" / "index.html").is_file()


def test_a_report_of_runs_is_not_replaced_by_one_without(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "elsewhere")
    main([str(tmp_path / "elsewhere")])
    before = (tmp_path / "reports" / "index.html").read_text()
    with pytest.raises(SystemExit, match=r"^2$"):
        main([])
    assert "there were none, and 'reports/index.html' exists: name folders with runs" in capsys.readouterr().err
    assert (tmp_path / "reports" / "index.html").read_text() == before


def test_by_default_the_runs_of_gcp_train_are_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs")
    main([])
    assert "1 run (0 diverged)" in capsys.readouterr().out


def test_plan_prints_commands_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    main(["--plan"])
    lines = capsys.readouterr().out.splitlines()
    commands = [line for line in lines if line.startswith("gcp-train experiment=")]
    assert len(commands) > 50
    assert any("GPU hours are not estimated" in line for line in lines if line.startswith("# "))
    fine_tuning = "# Table 4, from resnet50_imagenet svd_pade hybrid (missing: train it first)"
    assert any(line.endswith(fine_tuning) for line in commands)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_does_not_exist_is_explained(tmp_path, capsys):
    with pytest.raises(SystemExit, match=r"^2$"):
        main([str(tmp_path / "rums")])
    assert "rums' does not exist: give the folder that gcp-train wrote its runs to" in capsys.readouterr().err


def test_an_unknown_format_is_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as error:
        main(["--format", "pdf"])
    assert error.value.code == 2
    assert "choose from" in capsys.readouterr().err


class ClosedPipe(io.StringIO):
    """Standard output whose reader is gone; `descriptor` stands for the pipe."""

    def __init__(self, descriptor):
        super().__init__()
        self.fileno = lambda: descriptor

    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")


def test_a_plan_may_be_cut_short_by_its_reader(monkeypatch, capsys):
    reading, writing = os.pipe()
    os.close(reading)
    monkeypatch.setattr("sys.stdout", ClosedPipe(writing))
    main(["--plan"])
    assert os.write(writing, b"what is left in the buffer") > 0  # to nowhere, without a further error
    os.close(writing)
    assert capsys.readouterr().err == ""
