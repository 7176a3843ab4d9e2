"""What a user reads after a mistake."""

import signal
import sys
from pathlib import Path

import pytest
from hydra.errors import MissingConfigException

from gcp_repro.cli import evaluate, messages, train
from gcp_repro.cli.messages import EXTRAS, describe
from gcp_repro.errors import DataError, OptionError, ProtocolError, StorageError
from gcp_repro.runs import RunLocked


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run a command in this process; returns exit code and what it said."""

    def run(main, *arguments):
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["gcp-train", *arguments])
        with pytest.raises(SystemExit) as exit_:
            main()
        return exit_.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["meta_layer=svd_pad"], "no meta_layer 'svd_pad'; nearest: 'svd_pade', "),
        (["experiment=digit"], "no experiment 'digit'; nearest: 'digits'"),
        (["-m", "meta_layer=gap,svd_tayler"], "no meta_layer 'svd_tayler'; nearest: 'svd_taylor', "),
        (["callbacks=null"], "no callbacks None; nearest: "),
        (["callbacks=[1,2]"], "no callbacks 1; "),
        (["callbacks=-1"], "no callbacks -1; known: all, "),
        (["seeed=1"], "no option 'seeed'; nearest: 'seed'"),
        (["metalayer=gap"], "no option 'metalayer'; nearest: 'meta_layer'"),
        (["schedule.epoch=3"], "no option 'schedule.epoch'; nearest: 'schedule.epochs', "),
        (["meta_layer=svd_pade", "meta_layer.degre=50"], "no option 'meta_layer.degre'; nearest: 'meta_layer.degree'"),
        (["protocol.placement=added"], "no option 'protocol.placement'; nearest: "),
        (["a=["], "no viable alternative"),
        (["seed=abc"], "seed needs a whole number; got 'abc': 0 is the default"),
        (["seed=1.5"], "seed needs a whole number; got 1.5: 0 is the default"),
        (["schedule.epochs=ten"], "schedule.epochs needs a whole number; got 'ten': 15 is the default"),
        (["optimizer.lr=fast"], "optimizer.lr needs a number; got 'fast': 0.1 is the default"),
        (["experiment=digits_few", "-m", "optimizer.lr=1,fast"], "optimizer.lr needs a number; got 'fast'"),
        (["schedule.milestones=3"], "schedule.milestones needs a list, as in [1, 2]; got 3: [5, 10] is the default"),
        (["data.pin_memory=perhaps"], "data.pin_memory needs true or false; got 'perhaps': false is the default"),
        (["protocol=hybrid", "meta_layer=gap"], "go on from 'isqrt_cov'"),
        (["protocol=hybrid", "protocol.warmup_epochs=6"], "allows at most 5 epochs; got warmup_epochs=6"),
        (["meta_layer.name=isqrt"], "no meta-layer 'isqrt'; nearest: 'isqrt_cov'"),
    ],
)
def test_mistakes_get_one_message_and_no_traceback(command, tmp_path, arguments, message):
    code, said = command(train.main, *arguments)
    assert code == 2
    assert f"gcp-train: {message}" in said or message in said
    assert "Traceback" not in said
    assert [path.name for path in (tmp_path / "runs").rglob("*")] in ([], ["multirun.yaml"]), "nothing was begun"


def test_the_whole_traceback_is_there_on_demand(command, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="Could not override 'seeed'"):
        command(train.main, "seeed=1")


def test_eval_asks_for_a_checkpoint(command):
    code, said = command(evaluate.main)
    assert code == 2
    assert "one of run=DIRECTORY and checkpoint=FILE" in said
    assert command(evaluate.main, "chekpoint=x")[1].startswith("gcp-train: no option 'chekpoint'; nearest: 'checkpoint'")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_before_a_run_ends_the_command_with_its_status(number, code):
    before = signal.getsignal(signal.SIGTERM)
    interrupt = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    try:
        with pytest.raises(SystemExit) as exit_:
            messages.run_command(lambda: signal.raise_signal(number), "train")
    finally:
        signal.signal(signal.SIGINT, interrupt)
    assert exit_.value.code == code
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("error", "code"),
    [(OptionError("x"), 2), (ProtocolError("x"), 2), (DataError("x"), 1), (StorageError("x", "full"), 1), (RunLocked("x"), 4)],
)
def test_the_status_tells_what_kind_of_mistake_it_was(error, code, capsys):
    def main():
        raise error

    with pytest.raises(SystemExit) as exit_:
        messages.run_command(main, "train")
    assert exit_.value.code == code
    assert str(error) in capsys.readouterr().err


def test_a_run_that_diverges_says_so_in_its_status_unless_it_is_a_job_of_a_sweep(command, tiny_overrides):
    run = [*tiny_overrides, "optimizer.lr=1e30", "meta_layer=gap"]
    assert command(train.main, *run)[0] == 3
    assert command(train.main, *run)[0] == 3, "also where it is only looked up"
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        command(train.main, "-m", *run)


@pytest.mark.parametrize(("config", "extra"), EXTRAS.items())
def test_a_launch_whose_plugin_is_absent_says_how_to_install_it(config, extra):
    error = MissingConfigException("not found", missing_cfg_file=config, options=["basic"])
    said = describe(error, "train")
    assert said.startswith(f"{config} needs a plugin of Hydra; it is not installed: pip install 'gcp_repro[{extra}]'")
    assert f"\n{extra} = [" in (Path(__file__).parents[2] / "pyproject.toml").read_text()
