import csv
import sys

import pytest

from scripts.gpu_session import Step, main, run, steps_on

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
        "tests", "tune", "layers", "alexnet_imagenet 16-mixed", "alexnet_imagenet bf16-mixed compiled",
        "resnet50_imagenet 16-mixed", "resnet50_imagenet bf16-mixed compiled", "data",
    ]  # fmt: skip
    assert all("cuda" in step.command for step in steps if step.name in ("tune", "layers"))
    (layers,) = [step for step in steps if step.name == "layers"]
    assert layers.command[-4:-2] == ("--peer", str(tmp_path / "clone"))


def test_on_a_cpu_it_measures_too(tmp_path):
    assert main(["--device", "cpu", "--output", str(tmp_path), "--minutes", "30", "--only", "tune", "digits bf16-mixed"]) == 0
    assert [row["state"] for row in rows_of(tmp_path)] == ["done", "done"]
    assert (tmp_path / "solvers.csv").is_file()
    assert len([*tmp_path.glob("runs/*/*/result.json")]) == 1


def test_unknown_steps_are_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["--device", "cpu", "--output", str(tmp_path), "--only", "tunes"])
    assert "no step 'tunes': known are tests, tune" in capsys.readouterr().err
