import csv
import re

import pytest

from gcp_repro.cli.bench import main
from gcp_repro.runs.machine import cpu_name
from gcp_repro.training.loop.solvers import device_name, measured_times


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def tune(output, *options):
    main(["tune", "--device", "cpu", "--threads", "1", "--repeats", "1", "--output", str(output), *options])
    return rows_of(output)


def test_every_solver_of_every_kind_of_work_is_measured(tmp_path, capsys):
    import torch

    path = tmp_path / "new" / "solvers.csv"
    rows = tune(path, "--shapes", "2x5x3x3", "--dtypes", "float64")
    works = {row["work"] for row in rows}
    assert works == {
        "newton_schulz exact gram float64 standard",
        "newton_schulz exact dense float64 standard",
        "sqrt exact gram float64 standard",
    }
    assert {(row["work"], row["solver"]) for row in rows} == {(work, name) for work in works for name in ("device", "products")}
    assert all((row["channels"], row["positions"], row["batch"]) == ("5", "9", "2") for row in rows)
    assert {row["device_name"] for row in rows} == {cpu_name()} == {device_name(torch.device("cpu"))}
    assert len(measured_times(path, torch.device("cpu"))) == len(rows)
    shown = capsys.readouterr().out
    assert "2x5x3x3: milliseconds" in shown
    assert "gcp-train with solver=auto goes by it" in shown


def test_other_devices_and_sizes_keep_their_rows(tmp_path):
    path = tmp_path / "solvers.csv"
    first = tune(path, "--shapes", "2x5x3x3", "--dtypes", "float64")
    path.write_text(path.read_text().replace(cpu_name(), "another"))
    both = tune(path, "--shapes", "2x5x3x3", "2x4x2x2", "--dtypes", "float64")
    assert len(both) == 3 * len(first)
    assert tune(path, "--shapes", "2x5x3x3", "--dtypes", "float64")[-1]["channels"] == "5"
    assert len(rows_of(path)) == 3 * len(first)


@pytest.mark.parametrize(
    ("options", "message"), [(["--repeats", "0"], "at least 1 repeat"), (["--shapes", "2x5"], "a shape is written")]
)
def test_bad_options_are_refused(tmp_path, options, message, capsys):
    with pytest.raises(SystemExit, match=r"^[12]$"):
        main(["tune", "--output", str(tmp_path / "solvers.csv"), *options])
    assert re.search(message, capsys.readouterr().err)


def test_another_file_is_not_overwritten(tmp_path, capsys):
    path = tmp_path / "notes.csv"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SystemExit, match=r"^[12]$"):
        tune(path)
    assert re.search("gcp-bench tune wrote", capsys.readouterr().err)
    assert path.read_text() == "a,b\n1,2\n"


def test_a_place_where_no_file_can_be_is_refused_before_any_work(tmp_path, capsys):
    with pytest.raises(SystemExit):
        tune(tmp_path)
    assert re.search(r"--output needs a file to write to; .* is a folder: name a file in it", capsys.readouterr().err)
