"""What the rehearsal checks, on directories in which all is well and in which each thing is not."""

import csv
import json
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

if sys.platform != "linux":
    pytest.skip("the rehearsal is of a cluster of Linux machines", allow_module_level=True)

import resource

from scripts.rehearsal import __main__ as rehearsal
from scripts.rehearsal import checks
from scripts.rehearsal.__main__ import CONFIGURATION, CONTROL, STARTS, Rehearsal, check_start
from scripts.rehearsal.disk import FileSystem, Limit
from scripts.rehearsal.divergence import Divergence

LAYERS = ("isqrt_cov", "svd_pade", "svd_taylor", "svd_newton", "svd_trunc", "svd_topn", "mpn_cov")
ROWS = [(layer, "standalone") for layer in LAYERS] + [(layer, "hybrid") for layer in LAYERS[1:]]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def rehearsed(tmp_path):
    """Files of a rehearsal that went well: runs, the undisturbed twin, the table, the times of results."""
    epochs = [{"epoch": number, "val/top1_error": 90.5, "seconds": number} for number in range(3)]
    for layer, protocol in ROWS:
        run = tmp_path / "runs" / "alexnet_imagenet" / f"{layer}-{protocol}"
        write(run / "metrics.csv", epochs)
        (run / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in epochs))
        status = "diverged" if (layer, protocol) == Divergence.ROW else "finished"
        (run / "result.json").write_text(json.dumps({"status": status, "meta_layer": layer, "protocol": protocol}))
    twin = tmp_path / "control" / "alexnet_imagenet" / "svd_pade-standalone"
    write(twin / "metrics.csv", [{**row, "seconds": 100} for row in epochs])
    heads = {protocol: f"{protocol}, measured (alexnet_imagenet): final top-1" for protocol in ("standalone", "hybrid")}
    cells = {row: "diverged" if row == Divergence.ROW else "90.00" for row in ROWS}
    table = [{"layer": layer, **{heads[kind]: cells.get((layer, kind), "") for kind in heads}} for layer in LAYERS]
    write(tmp_path / "errors.csv", table)
    times = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").rglob("result.json")}
    return SimpleNamespace(folder=tmp_path, runs=tmp_path / "runs", twin=twin, table=tmp_path / "errors.csv", times=times)


def failures(files):
    found = checks.check_all(files.runs, files.twin, files.table, files.times)
    return [check.what for check in found if not check.holds]


def test_all_is_well(rehearsed):
    assert failures(rehearsed) == []


def test_a_missing_result(rehearsed):
    (rehearsed.runs / "alexnet_imagenet" / "mpn_cov-hybrid" / "result.json").unlink()
    rehearsed.times.clear()
    assert failures(rehearsed) == ["13 rows have a result"]


def test_another_row_diverged(rehearsed):
    path = rehearsed.runs / "alexnet_imagenet" / "mpn_cov-hybrid" / "result.json"
    path.write_text(path.read_text().replace("finished", "diverged"))
    rehearsed.times.clear()
    assert failures(rehearsed) == ["svd_topn standalone alone diverged"]


@pytest.mark.parametrize("name", ["metrics.csv", "metrics.jsonl"])
def test_an_epoch_twice(rehearsed, name):
    path = rehearsed.runs / "alexnet_imagenet" / "mpn_cov-hybrid" / name
    path.write_text(path.read_text() + path.read_text().splitlines()[-1] + "\n")
    assert failures(rehearsed) == ["mpn_cov hybrid has 3 epochs, each once, in both files"]


def test_a_result_written_again(rehearsed):
    rehearsed.times = {path: time - 1 for path, time in rehearsed.times.items()}
    assert failures(rehearsed) == ["no result was written twice"]


def test_a_digit_of_the_twin(rehearsed):
    path = rehearsed.twin / "metrics.csv"
    path.write_text(path.read_text().replace("90.5", "90.50001", 1))
    assert failures(rehearsed) == ["the row that was killed has every digit of its undisturbed twin"]


def test_an_empty_cell_of_the_table(rehearsed):
    rehearsed.table.write_text(rehearsed.table.read_text().replace("90.00", "", 1))
    assert failures(rehearsed) == ["Table 2 has 12 numbers"]


def test_the_sweep_is_that_of_the_table_and_the_events_come_in_the_order_of_its_rows(compose_train):
    names = compose_train("sweep=table2", *CONFIGURATION, "row=svd_topn").callbacks.divergence
    assert (names.layer, names.protocol) == Divergence.ROW
    events = [event.row for start in STARTS for event in start.events]
    assert events == sorted(events)
    assert events[0] == CONTROL
    assert max(events) < len(ROWS)


@pytest.mark.parametrize(
    ("number", "status", "account", "disk", "holds"),
    [
        (5, 0, "sweep of 13: 13 skipped (12 finished, 1 diverged before)", FileSystem, [True, True]),
        (5, 0, "sweep of 13: 5 finished, 8 skipped (7 finished, 1 diverged before)", FileSystem, [True, False]),
        (5, 0, "no account", Limit, [True, False]),
        (1, -9, "no account", FileSystem, [True, True]),
        (2, 1, "sweep of 13: 2 finished, 10 failed, 1 skipped (1 finished before)", FileSystem, [True, True]),
        (2, 1, "no account", FileSystem, [True, False]),
        (2, 1, "no account", Limit, [True, True]),
        (3, 1, "sweep of 13: 1 interrupted, 4 not started, 8 skipped", FileSystem, [False, True]),
    ],
)
def test_a_start_is_judged_by_its_status_and_its_account(number, status, account, disk, holds, tmp_path):
    found = check_start(number, STARTS[number - 1], status, account, disk(tmp_path))
    assert [check.holds for check in found] == holds


class Ended:
    """A sweep that writes a result and ends."""

    def __init__(self, command, log, runs, environment):
        self.main = SimpleNamespace(poll=lambda: 0)
        result = runs / "alexnet_imagenet" / "mpn_cov-hybrid" / "result.json"
        result.parent.mkdir(parents=True, exist_ok=True)
        result.write_text("{}")

    def wait_for_all(self, known):
        return 0

    def account(self):
        return "sweep of 13: 13 skipped"


def test_results_of_a_start_without_a_disturbance_are_noted_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(rehearsal, "Sweep", Ended)
    found = Rehearsal(tmp_path, FileSystem(tmp_path / "disk"))
    checks_of_start = found.start(5, STARTS[4])
    (result,) = found.written
    assert found.written[result] == result.stat().st_mtime_ns
    assert all(check.holds for check in checks_of_start)


def test_a_file_system_is_filled_and_emptied(tmp_path):
    """A limit on this process's files stands for the size of the disk."""
    code = (
        "import resource, signal, sys; from pathlib import Path; from scripts.rehearsal.disk import FileSystem\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (3 * 2**20 + 5, -1))\n"
        "place = FileSystem(Path(sys.argv[1])); place.fill(None); print((place.folder / 'ballast').stat().st_size); place.empty()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) == 3 * 2**20 + 5
    assert list(tmp_path.iterdir()) == []


def test_the_stand_in_limits_the_files_of_running_processes(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        Limit(tmp_path).fill(SimpleNamespace(processes=lambda: [process.pid]))
        assert resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[0] == 16
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(("row", "planted"), [(Divergence.ROW, True), (("svd_topn", "hybrid"), False)])
def test_one_row_diverges_in_its_epoch_whatever_the_weights_memory_format(row, planted):
    network = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    callback = Divergence(*row, epoch=1)
    for epoch, batch in ((0, 0), (0, 1), (1, 1)):
        callback.on_train_batch_start(SimpleNamespace(current_epoch=epoch), network, None, batch)
    assert all(weight.isfinite().all() for weight in network.parameters())
    callback.on_train_batch_start(SimpleNamespace(current_epoch=1), network, None, 0)
    assert sum(int(weight.isinf().sum()) for weight in network.parameters()) == planted
