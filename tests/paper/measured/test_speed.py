import re
from pathlib import Path

import pytest

from gcp_repro.bench.cases import Case, Shape
from gcp_repro.bench.layer_records import Measurement, machine, write_rows
from gcp_repro.bench.timing import Sample
from gcp_repro.errors import DataError
from gcp_repro.paper.measured.speed import COMMAND, read_bench, speed_table


@pytest.fixture
def layers_csv(tmp_path):
    """A file as gcp-bench layers writes it: two layers at AlexNet's shape, one of them also at another."""
    import torch

    path = tmp_path / "layers.csv"
    measurements = [
        Measurement(Shape(8, 256, 13, 13), Case("gcp_repro", "svd_pade", "dense", "float64"), [Sample(1.0, 2.0)]),
        Measurement(Shape(8, 256, 13, 13), Case("gcp_repro", "isqrt_cov", "dense", "float64"), [Sample(0.25, 0.5)]),
        Measurement(Shape(8, 256, 7, 7), Case("gcp_repro", "svd_pade", "dense", "float64"), [Sample(9.0, 9.0)]),
        Measurement(Shape(8, 256, 13, 13), Case("gcp_repro", "mpn_cov", "dense", "float64"), failure="LinAlgError"),
    ]
    write_rows(path, (measurement.row() for measurement in measurements), machine(torch.device("cpu"), 1))
    return path


def texts(table, source):
    return [[cell.text for cell in row] for row in table.rows if row[1].text == source]


def test_measured_times_stand_beside_the_published_ones(layers_csv):
    table = speed_table(read_bench([layers_csv]), layers_csv.parent / "reports" / "index.html")
    assert ["SVD-Newton", "published", "", "", "", "", "", "", "2.36", "1.05", "3.41"] in texts(table, "published")
    machine, rounds, day = texts(table, "measured")[0][5:8]
    assert "1 threads" in machine
    assert rounds == "1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", day)
    assert [row[:5] + row[8:] for row in texts(table, "measured")] == [
        ["isqrt_cov (iSQRT-COV)", "measured", "dense", "float64", "8", "0.25", "0.5", "0.75"],
        ["svd_pade (SVD-Pade)", "measured", "dense", "float64", "8", "1", "2", "3"],
    ]
    assert {cell.link for row in table.rows for cell in row if cell.origin == "measured"} == {"../layers.csv"}


def test_without_measurements_the_command_is_named():
    table = speed_table(read_bench(()), Path("index.html"))
    assert len(table.rows) == 7
    assert COMMAND in table.caption


def test_files_of_other_kinds_in_a_folder_are_passed_over(layers_csv):
    (layers_csv.parent / "data.csv").write_text("dataset,images_per_second\nbirds,3\n")
    (layers_csv.parent / "empty.csv").write_text("")
    assert len(read_bench([layers_csv.parent])) == 4


def test_by_default_the_usual_folders_are_read(layers_csv, monkeypatch):
    monkeypatch.chdir(layers_csv.parent)
    layers_csv.parent.joinpath("results").mkdir()
    (layers_csv.parent / "results" / "layers.csv").write_bytes(layers_csv.read_bytes())
    assert len(read_bench()) == 0  # rows of a checkout are of other machines
    layers_csv.parent.joinpath("reports").mkdir()
    layers_csv.rename(layers_csv.parent / "reports" / "layers.csv")
    assert len(read_bench()) == 4


def test_a_named_file_that_does_not_serve_is_explained(tmp_path):
    with pytest.raises(
        DataError, match=r"read from files of gcp-bench layers; '.*none\.csv' does not exist: run gcp-bench layers"
    ):
        read_bench([tmp_path / "none.csv"])
    (tmp_path / "data.csv").write_text("dataset,images_per_second\nbirds,3\n")
    with pytest.raises(DataError, match=r"'.*data\.csv' lacks origin, layer, .*: run gcp-bench layers"):
        read_bench([tmp_path / "data.csv"])
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(DataError, match=r"'.*empty\.csv' is none"):
        read_bench([tmp_path / "empty.csv"])
