"""What a command's exit status says is the same for all commands."""

import importlib
import sys

import pytest
import tomllib

from gcp_repro.cli.mistakes import explained
from gcp_repro.errors import DataError, MissingPathError, OptionError, StorageError
from gcp_repro.runs.exit_codes import FAILED, MISCONFIGURED
from gcp_repro.runs.interruption import TrainingInterrupted
from tests.test_imports import ROOT

COMMANDS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["scripts"]
MISTAKES = [
    ("gcp-train seeed=1", "no option 'seeed'"),
    ("gcp-train replay=none", "there is none at none"),
    ("gcp-train data=birds data.root=none", "there is none at none"),
    ("gcp-train data=fashion_mnist data.root=none", "looked in none"),
    ("gcp-train data=image_folder data.root=full data.train_split=none", "the image folder needs 'none'; looked in full"),
    ("gcp-eval run=none", "at none/checkpoints/last.ckpt; there is no such file"),
    ("gcp-eval", "needs one of run=DIRECTORY and checkpoint=FILE"),
    ("gcp-tables none", "'none' does not exist"),
    ("gcp-tables --bench none.csv", "'none.csv' does not exist"),
    ("gcp-tables --format odd", "invalid choice: 'odd'"),
    ("gcp-status none", "'none' does not exist"),
    ("gcp-bench data none", "there is none at none"),
    ("gcp-bench train --repeats 0", "--repeats needs at least 1; got 0"),
    ("gcp-import none.pth --output run", "there is none at none.pth"),
    ("gcp-import none --export --architecture alexnet --output file", "there is no none"),
    ("gcp-data imagenet none target", "none needs ILSVRC2012_img_train.tar"),
    ("gcp-data tiny birdz target", "no tiny data set 'birdz'; nearest: 'birds'"),
    ("gcp-data tiny birds full", "needs an empty folder; full holds files"),
    ("gcp-reproduce --jobs 0", "--jobs must be a whole number >= 1"),
    ("gcp-dashboard --project mine", "the following arguments are required: --entity"),
]
FAULTS = [
    ("gcp-tables --output full/file/page.html", "File exists: 'full/file'"),
    ("gcp-data tiny birds full/file/birds", "Not a directory"),
    ("gcp-import full/file --output run", "full/file"),
    ("gcp-train replay=full/file", "full/file"),
    ("gcp-train data=birds data.root=full", "CUB-200-2011 needs"),
    ("gcp-bench data full", "full has none"),
]


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")


def ending(line, monkeypatch, capsys):
    """Exit status of a command, and what it said."""
    command, *arguments = line.split()
    module, _, function = COMMANDS[command].partition(":")
    monkeypatch.setattr(sys, "argv", [command, *arguments])
    with pytest.raises(SystemExit) as stop:
        getattr(importlib.import_module(module), function)()
    return stop.value.code, capsys.readouterr().err


def test_every_command_is_here():
    assert {line.split()[0] for line, _ in MISTAKES} == set(COMMANDS)


@pytest.mark.parametrize(
    ("line", "words", "status"),
    [*((*mistake, MISCONFIGURED) for mistake in MISTAKES), *((*fault, FAILED) for fault in FAULTS)],
)
def test_asking_for_what_cannot_be_is_2_and_what_goes_wrong_around_a_command_is_1(line, words, status, monkeypatch, capsys):
    code, said = ending(line, monkeypatch, capsys)
    assert code == status, said
    assert words in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (OptionError("x"), 2),
        (MissingPathError("x"), 2),
        (DataError("x"), 1),
        (StorageError("x", "full"), 1),
        (PermissionError("x"), 1),
        (KeyboardInterrupt(), 130),
        (TrainingInterrupted("trainer.max_time"), 75),
    ],
)
def test_the_kind_of_error_decides(error, code, capsys):
    with pytest.raises(SystemExit) as stop, explained("gcp-any"):
        raise error
    assert (stop.value.code, stop.value.args) == (code, (code,))
    assert capsys.readouterr().err.startswith("gcp-any: ")


def test_a_fault_of_the_program_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), explained("gcp-any"):
        raise ZeroDivisionError
