import csv
import io
import re
from importlib.metadata import version

import pytest
import torch
from rich.console import Console

from gcp_repro.bench.cases import Case, Shape
from gcp_repro.bench.layer_records import Comparison, Measurement, published_seconds, write_rows
from gcp_repro.bench.layer_tables import Steps, measurement_table
from gcp_repro.bench.layers import relative_difference
from gcp_repro.bench.timing import Sample
from gcp_repro.cli.bench import main

SHAPE = Shape.parse("2x256x13x13")
PADE = Case("gcp_repro", "svd_pade", "gram", "float64")


def read(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def run(tmp_path, *options):
    output = tmp_path / "results" / "bench.csv"
    threads = torch.get_num_threads()
    main(["layers", "--threads", "1", "--repeats", "2", "--no-memory", "--output", str(output), *options])
    assert torch.get_num_threads() == threads
    return read(output), output.with_name("bench_ratios.csv")


def test_every_layer_and_route_is_measured(tmp_path, capsys):
    rows, ratios = run(tmp_path, "--shapes", "2x6x2x2", "3x5x4x4")
    assert [row["failure"] for row in rows if row["failure"]] == []
    assert {(row["batch"], row["channels"], row["height"]) for row in rows} == {("2", "6", "2"), ("3", "5", "4")}
    routes = {(row["route"], row["dtype"]) for row in rows if row["layer"] == "svd_taylor"}
    assert routes == {
        ("gram", "float64"), ("gram", "float32"), ("gram", "mixed"), ("dense", "float64"), ("dense", "float32")
    }  # fmt: skip
    for row in rows:
        assert row["rounds"] == "2"
        assert 0 < float(row["forward_min"]) <= float(row["forward_median"])
        assert float(row["total_min"]) >= 0.9999 * (float(row["forward_min"]) + float(row["backward_min"]))
        assert bool(row["times_limit_median"]) == (row["origin"] == "gcp_repro" and row["dtype"] != "")
        assert row["peak_extra_bytes"] == ""
        assert row["device"] == "cpu"
        assert row["torch"] == version("torch")
        assert all(row[name] for name in ("cpu", "cores", "threads", "python", "gcp_repro", "date"))
    compared = read(ratios)
    assert {row["reference"] for row in compared if row["reference_dtype"] == row["dtype"]} == {"isqrt_cov"}  # for svd_lyapunov
    mixed = [row for row in compared if row["reference_dtype"] != row["dtype"]]
    assert {row["dtype"] for row in mixed} == {"mixed"}
    assert all(row["reference"] == row["layer"] for row in mixed)
    shown = capsys.readouterr().out
    assert "svd_power_iteration" in shown
    assert "2x6x2x2: milliseconds, minimum | median of 2 rounds" in shown


def test_the_peer_is_timed_and_compared_in_the_same_run(tmp_path, make_peer, capsys):
    cuda = torch.Tensor.cuda
    options = ["--layers", "svd_pade", "mpn_cov", "svd_topn", "--routes", "gram", "--dtypes", "float64"]
    rows, ratios = run(tmp_path, *options, "--shapes", "2x60x8x8", "--peer", str(make_peer()))
    seconds = {row["layer"]: row for row in rows}
    assert {"SVD_Pade", "SVD_Original", "SVD_TopN"} <= set(seconds)
    compared = read(ratios)
    assert [(row["layer"], row["reference"]) for row in compared] == [
        ("svd_pade", "SVD_Pade"),
        ("mpn_cov", "SVD_Original"),
        ("mpn_cov", "SVD_Pade"),
        ("svd_topn", "SVD_TopN"),
    ]
    for row in compared:
        ratio = float(seconds[row["reference"]]["total_min"]) / float(seconds[row["layer"]]["total_min"])
        assert float(row["total_ratio_of_minima"]) == pytest.approx(ratio, rel=1e-4)
        assert float(row["output_difference"]) < 1e-6
    assert "peer SVD_TopN" in capsys.readouterr().out
    assert torch.Tensor.cuda is cuda


def test_a_peer_that_disagrees_is_seen(tmp_path, make_peer):
    options = ["--layers", "svd_pade", "--routes", "gram", "--dtypes", "float64", "--shapes", "2x6x3x3"]
    _, ratios = run(tmp_path, *options, "--peer", str(make_peer(factor=1.25)))
    assert float(read(ratios)[0]["output_difference"]) == pytest.approx(0.2, rel=1e-5)


def test_a_layer_that_fails_does_not_stop_the_others(tmp_path, make_peer, capsys):
    clone = make_peer(names=("SVD_Pade", "MPNCOV"))
    options = ["--layers", "svd_pade", "svd_trunc", "--routes", "gram", "--dtypes", "float64", "--shapes", "2x6x3x3"]
    rows, _ = run(tmp_path, *options, "--peer", str(clone))
    failed = {row["layer"]: row["failure"] for row in rows if row["failure"]}
    assert set(failed) == {"SVD_Trunc"}
    assert "no peer layer 'SVD_Trunc'" in failed["SVD_Trunc"]
    assert "peer SVD_Trunc float64 failed: UnknownNameError" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--layers", "svd_pad"], "no meta-layer 'svd_pad'; nearest: 'svd_pade'"),
        (["--layers", "gap:shrinkge=0.1"], "gap has no option 'shrinkge'; nearest: 'shrinkage'"),
        (["--layers", "gap:heads"], "written NAME:OPTION=VALUE,.*got 'gap:heads'"),
        (["--layers", "svd_pade:route=dense"], "which --routes, --dtypes and --accuracies name; got 'svd_pade:route=dense'"),
        (["--repeats", "0"], "at least 1 repeat and thread; got 0 and"),
        (["--shapes", "7x7"], "a shape is written BxCxHxW"),
        (["--peer", "nowhere"], "needs a clone of DifferentiableSVD, with a folder src/representation; nowhere has none"),
    ],
)
def test_mistakes_end_the_command_before_any_work(tmp_path, options, message, capsys):
    output = tmp_path / "bench.csv"
    with pytest.raises(SystemExit, match=r"^[12]$"):
        main(["layers", "--no-memory", "--output", str(output), *options])
    assert re.search(message, capsys.readouterr().err)
    assert not output.exists()


def test_a_layer_is_measured_beside_itself_with_other_options(tmp_path):
    layers = ["svd_lyapunov", "svd_lyapunov:shrinkage=0.1", "svd_lyapunov:shrinkage=oas,heads=2"]
    rows, ratios = run(tmp_path, "--layers", *layers, "--routes", "gram", "--dtypes", "float64", "--shapes", "2x6x2x2")
    assert [row["layer"] for row in rows if row["origin"] == "gcp_repro"] == layers
    assert {row["failure"] for row in rows} == {""}
    assert not ratios.exists()


def test_processor_time_is_measured_where_it_is_asked_for(tmp_path, capsys):
    rows, _ = run(tmp_path, "--layers", "svd_lyapunov", "--routes", "gram", "--shapes", "2x6x2x2", "--clock", "cpu")
    assert {row["clock"] for row in rows} == {"cpu"}
    with pytest.raises(SystemExit, match=r"^[12]$"):
        main(["layers", "--device", "cuda", "--clock", "cpu"])
    assert re.search("--clock cpu sees the processor alone; got --device cuda: use --clock wall", capsys.readouterr().err)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_where_there_is_none(capsys):
    with pytest.raises(SystemExit, match=r"^[12]$"):
        main(["layers", "--device", "cuda"])
    assert re.search(r"needs a CUDA device; torch .* finds none: use --device cpu", capsys.readouterr().err)


def test_table_5_stands_beside_alexnets_features_only():
    assert published_seconds(PADE, SHAPE, "total") == 1.24
    assert published_seconds(Case("gcp_repro", "isqrt_cov", "dense", "float64"), SHAPE, "backward") == 0.53
    assert published_seconds(Case("gcp_repro", "svd_lyapunov", "gram", "float64"), SHAPE, "total") is None
    assert published_seconds(PADE, Shape.parse("2x256x7x7"), "total") is None
    table = measurement_table([Measurement(SHAPE, PADE, [Sample(0.5, 0.25)])])
    assert [column.header for column in table.columns][-3:] == ["paper forward", "paper backward", "paper total"]
    assert [next(iter(column.cells)) for column in table.columns][-4:] == ["", "960", "280", "1240"]


def test_ratios_and_limits_are_those_of_the_samples():
    ours = Measurement(
        SHAPE, PADE, [Sample(1.0, 1.0), Sample(2.0, 2.0)], limit=[Sample(0.5, 0.5), Sample(1.0, 1.0)], peak_bytes=10
    )
    theirs = Measurement(SHAPE, Case("peer", "SVD_Pade"), [Sample(6.0, 2.0), Sample(12.0, 4.0)], peak_bytes=25)
    row = Comparison(ours, theirs, 1e-7).row()
    assert ours.row()["times_limit_median"] == 2.0
    assert (row["forward_ratio_median"], row["backward_ratio_median"], row["total_ratio_median"]) == (6.0, 2.0, 4.0)
    assert row["memory_ratio"] == 2.5


def test_rows_of_a_failed_candidate_have_all_columns(tmp_path):
    rows = [Measurement(SHAPE, PADE, [Sample(1.0, 1 / 3)]).row(), Measurement(SHAPE, PADE, failure="no").row()]
    write_rows(tmp_path / "rows.csv", rows, {"device": "cpu"})
    first, second = read(tmp_path / "rows.csv")
    assert first["backward_min"] == "0.333333"
    assert (second["backward_min"], second["failure"], second["device"]) == ("", "no", "cpu")


def test_relative_difference_is_per_image():
    theirs = torch.tensor([[1.0, 4.0], [100.0, 200.0]])
    assert relative_difference(theirs + torch.tensor([[0.0, 1.0], [2.0, 0.0]]), theirs) == 0.25


def test_time_left_is_said_without_a_terminal(capsys):
    with Steps(4, Console(width=80), every=0.0) as steps:
        steps.describe("anything")
        steps.advance()
        steps.advance(3)
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith("1 of 4 steps, about ")
    assert last == "4 of 4 steps, about 0 s left"


def test_a_bar_on_a_terminal_leaves_standard_output_alone(capsys):
    terminal = io.StringIO()
    with Steps(2, Console(file=terminal, force_terminal=True, width=80)) as steps:
        steps.describe("measuring")
        steps.advance()
        with steps.pause():
            print("a table")
        steps.advance()
    assert capsys.readouterr().out == "a table\n"
    assert "measuring" in terminal.getvalue()
    assert "2/2" in terminal.getvalue()
