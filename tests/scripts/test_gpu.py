import argparse
import csv
import sys
from pathlib import Path

import pytest

from gcp_repro.bench.train import _configs, add_arguments
from gcp_repro.data.tiny import Tiny
from scripts.gpu.__main__ import TESTS, Step, main, run, steps_on

SAYS = "import sys; print('said'); sys.exit({})"


def rows_of(folder):
    return list(csv.DictReader((folder / "session.csv").read_text().splitlines()))


def test_a_step_that_fails_or_hangs_leaves_the_others_their_time(tmp_path, capsys):
    steps = [
        Step("first", (sys.executable, "-c", SAYS.format(3)), 60),
        Step("hangs", (sys.executable, "-c", "import sys; sys.stdin = open(0); import time; time.sleep(600)"), 0.5),
        Step("last", (sys.executable, "-c", SAYS.format(0)), 60),
    ]
    assert [ending.state for ending in run(steps, tmp_path, 120)] == ["failed", "out of time", "done"]
    assert [(row["step"], row["state"]) for row in rows_of(tmp_path)] == [
        ("first", "failed"), ("hangs", "out of time"), ("last", "done")
    ]  # fmt: skip
    log = (tmp_path / "log.txt").read_text()
    assert log.index("== first") < log.index("said") < log.index("== hangs") < log.index("== last")
    assert "done        last" in capsys.readouterr().out


def test_nothing_begins_when_all_time_is_gone(tmp_path):
    assert [ending.state for ending in run([Step("late", ("no-such-program",), 60)], tmp_path, 0)] == ["out of time"]


def test_the_whole_fits_into_its_time_and_measures_what_it_says(tmp_path):
    steps = steps_on("cuda", tmp_path, tmp_path / "clone")
    assert [step.name for step in steps] == [
        "tests", "decompositions", "layers", "alexnet_imagenet 16-mixed", "alexnet_imagenet bf16-mixed compiled",
        "resnet50_imagenet 16-mixed", "resnet50_imagenet bf16-mixed compiled", "train", "peer",
        "decoding", "tune", "data",
    ]  # fmt: skip
    assert all("cuda" in step.command for step in steps if step.name in ("tune", "layers", "peer"))
    assert [step.name for step in steps if str(tmp_path / "clone") in step.command] == ["peer"]


def test_every_training_has_a_folder_of_its_own(tmp_path):
    """Whether it is compiled does not make it another run: in one folder the second would be finished before it begins."""
    for device in ("cpu", "cuda"):
        trainings = [step for step in steps_on(device, tmp_path, None) if step.command[0].endswith("gcp-train")]
        folders = [option for step in trainings for option in step.command if option.startswith("paths.runs_dir=")]
        assert len(trainings) == len({*folders}) > 1


def test_the_tests_are_those_that_need_a_gpu():
    root = Path(__file__).parents[2]
    marked = [path for path in (root / "tests").rglob("test_*.py") if "pytest.mark.gpu" in path.read_text(encoding="utf-8")]
    assert {str(path.relative_to(root)) for path in marked} - {"tests/scripts/test_gpu.py"} == {*TESTS}


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_measurement_leaves_a_file_in_the_folder(device, tmp_path):
    benches = [step.command for step in steps_on(device, tmp_path, None) if step.command[0].endswith("gcp-bench")]
    assert [command[1] for command in benches] == ["layers", "train", "tune", "data"]
    files = [command[1 + command.index("--csv" if command[1] == "data" else "--output")] for command in benches]
    assert [Path(file).parent for file in files] == [tmp_path] * 4
    assert len({*files}) == 4


@pytest.mark.parametrize(("device", "images"), [("cpu", 1000), ("cuda", Tiny().classes * Tiny().train)])
def test_the_training_whose_steps_are_taken_apart_has_as_many_batches_as_it_counts(device, images, tmp_path):
    (step,) = [step for step in steps_on(device, tmp_path, None) if step.name == "train"]
    options = argparse.ArgumentParser()
    add_arguments(options)
    chosen = options.parse_args(step.command[2:])
    config, *_ = _configs([override.replace("=gpu", "=cpu") for override in chosen.overrides], chosen.layers)
    assert chosen.steps + chosen.warmup <= images // config.data.batch_size


def test_on_a_cpu_it_measures_too(tmp_path):
    steps = ["tune", "digits bf16-mixed", "decompositions", "decoding"]
    assert main(["--device", "cpu", "--output", str(tmp_path), "--minutes", "30", "--only", *steps]) == 0
    assert [row["state"] for row in rows_of(tmp_path)] == ["done"] * 4
    assert (tmp_path / "solvers.csv").is_file()
    rows = list(csv.DictReader((tmp_path / "decompositions.csv").read_text().splitlines()))
    assert {(row["way"], row["dtype"], row["size"]) for row in rows} == {
        (way, dtype, "8") for way in ("eigh", "host") for dtype in ("float64", "float32")
    }
    rows = list(csv.DictReader((tmp_path / "decoding.csv").read_text().splitlines()))
    assert [row["decode_on"] for row in rows] == ["workers", "device"]
    assert all(float(row["images_per_second"]) > 0 for row in rows)
    assert len([*tmp_path.glob("runs/*/*/*/result.json")]) == 1


def test_unknown_steps_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--device", "cpu", "--output", str(tmp_path), "--only", "tunes"])
    assert "no step 'tunes': known are tests, decompositions" in capsys.readouterr().err
