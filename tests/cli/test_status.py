"""`gcp-status` on directories in every state."""

import csv
import io
import json
import subprocess
import sys

import pytest

from gcp_repro.cli.status import environment, main
from gcp_repro.runs import RunDirectory, run_lock, write_json
from gcp_repro.training.run import train


@pytest.fixture
def runs(compose_tiny, tmp_path, monkeypatch):
    """A finished run, a running one and an interrupted one, in the folder `runs`."""
    monkeypatch.chdir(tmp_path)
    finished = RunDirectory(compose_tiny("schedule.epochs=1", "schedule.milestones=[]").paths.run_dir)
    train(compose_tiny("schedule.epochs=1", "schedule.milestones=[]"))
    running, interrupted = (RunDirectory(tmp_path / "runs" / name) for name in ("running", "interrupted"))
    for run in (running, interrupted):
        run.path.mkdir()
        run.metrics.write_text("epoch,val/top1_error,meta_layer\n0,90.5,gap\n1,80.25,gap\n2,81,gap\n")
        place = {"epoch": 3, "epochs": 30, "step": 1200, "steps": 5005, "images_per_second": 812.4, "seconds_left": 8000.0}
        write_json(run.progress, {**place, "host": "gpu7", "time": "2026-11-26 10:00:00 UTC"})
    with run_lock(running):
        yield {"finished": finished, "running": running, "interrupted": interrupted}


def rows(capsys, *options):
    main(["runs", *options, "--format", "json"])
    return {row["state"]: row for row in json.loads(capsys.readouterr().out)}


def test_states_are_told_from_the_directories_alone(runs, capsys):
    found = rows(capsys)
    assert list(found) == ["finished", "interrupted", "running"]
    result = json.loads(runs["finished"].result.read_text())
    finished = found["finished"]
    assert (finished["epoch"], finished["epochs"], finished["error"]) == (1, 1, result["final_top1_error"])
    assert (finished["images/s"], finished["seconds_left"]) == (result["samples_per_second"], None)
    running = found["running"]
    assert (running["epoch"], running["epochs"], running["step"], running["error"], running["best"]) == (3, 30, 1200, 81, 80.25)
    assert (running["images/s"], running["seconds_left"], running["note"]) == (812.4, 8000, "step 1200 of 5005 in epoch 4")
    assert (found["interrupted"]["host"], found["interrupted"]["step"]) == ("gpu7", None)


def test_the_eye_and_other_programs_get_the_same(runs, capsys):
    main(["runs"])
    *lines, account = capsys.readouterr().out.splitlines()
    assert account == "3 runs: 1 finished, 1 interrupted, 1 running"
    assert lines[2].split("  ")[0:2] == ["runs/interrupted", *lines[2].split("  ")[1:2]]
    assert all(text in lines[2] for text in ("3/30", "81.00", "80.25", "812", "2 h 13 min", "gpu7"))
    main(["runs", "--format", "csv"])
    table = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["state"] for row in table] == ["finished", "interrupted", "running"]
    assert table[1]["left"] == "2 h 13 min"
    main(["runs", "--format", "md"])
    assert "| runs/interrupted | interrupted | 3/30 | 81.00 | 80.25 | 812 | 2 h 13 min | gpu7 |" in capsys.readouterr().out
    assert list(rows(capsys, "--state", "running", "finished")) == ["finished", "running"]


@pytest.mark.parametrize("damage", ["{", "[1]", '{"epoch": null, "seconds_left": "soon"}', "\x00"])
def test_damaged_files_do_no_harm(runs, capsys, damage):
    runs["interrupted"].progress.write_text(damage)
    runs["interrupted"].metrics.write_text('epoch,val/top1_error\n0,"')
    row = rows(capsys)["interrupted"]
    assert (row["error"], row["seconds_left"]) == (None, None)


def test_a_folder_that_is_not_there(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=r"^2$"):
        main([])
    assert "gcp-status: runs are listed from folders; 'runs' does not exist: give the folder" in capsys.readouterr().err


def test_an_empty_folder(tmp_path, capsys):
    main([str(tmp_path)])
    assert capsys.readouterr().out == "0 runs\n"


def test_neither_torch_nor_pandas_is_imported():
    code = "import sys, gcp_repro.cli.status; print({'torch', 'pandas', 'hydra', 'pytorch_lightning'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_the_environment_has_a_line_for_each_version(capsys):
    main(["--environment"])
    said = capsys.readouterr().out
    assert f"\ntorch: {environment()['torch']}\n" in said
    assert "\nGPUs: " in said
