import argparse
import csv
import sys
from pathlib import Path

import pytest

from gcp_repro.bench.train import _configs, add_arguments
from gcp_repro.data import ImageFilesDataModule
from scripts.gpu.__main__ import IMAGES, TESTS, TRAINED, Step, main, run, steps_on
from scripts.gpu.images import main as write_images_command

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
        "resnet50_imagenet 16-mixed", "resnet50_imagenet bf16-mixed compiled", "images",
        "train alexnet_imagenet 32-true", "train resnet50_imagenet 32-true", "train alexnet_imagenet 16-mixed",
        "train resnet50_imagenet 16-mixed", "peer", "decoding", "tune", "data",
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
    assert {command[1] for command in benches} == {"layers", "train", "tune", "data"}
    files = {command[1]: command[1 + command.index("--csv" if command[1] == "data" else "--output")] for command in benches}
    assert {Path(file).parent for file in files.values()} == {tmp_path}
    assert len({*files.values()}) == 4


@pytest.mark.parametrize(("device", "images"), [("cpu", 1000), ("cuda", IMAGES)])
def test_the_trainings_whose_steps_are_taken_apart_have_as_many_batches_as_they_count(device, images, tmp_path):
    steps = [step for step in steps_on(device, tmp_path, None) if step.name.startswith("train")]
    assert len(steps) == (1 if device == "cpu" else len(TRAINED))
    for step in steps:
        options = argparse.ArgumentParser()
        add_arguments(options)
        chosen = options.parse_args(step.command[2:])
        on_cpu = {
            "trainer.accelerator=gpu": "trainer.accelerator=cpu",
            "trainer.precision=16-mixed": "trainer.precision=bf16-mixed",
        }
        config, *_ = _configs([on_cpu.get(override, override) for override in chosen.overrides], chosen.layers)
        assert chosen.steps + chosen.warmup <= images // config.data.batch_size


def test_images_are_spread_over_classes_and_written_once(tmp_path, capsys):
    arguments = ["--output", str(tmp_path / "images"), "--images", "5", "--classes", "2"]
    assert write_images_command(arguments) == 0
    found = ImageFilesDataModule("image_folder", str(tmp_path / "images"), batch_size=1, num_workers=0)
    found.setup("fit")
    labels = [
        label for loader in (found.train_dataloader(), found.val_dataloader()) for _, part in loader for label in part.tolist()
    ]
    assert sorted(labels) == [0, 0, 0, 0, 1, 1, 1]
    assert write_images_command(arguments) == 0
    assert "there already" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["images"]


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
