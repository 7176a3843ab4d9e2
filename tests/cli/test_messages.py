"""What a user reads after a mistake."""

import sys

import pytest

from gcp_repro.cli import evaluate, train


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
        (["seeed=1"], "no option 'seeed'; nearest: 'seed'"),
        (["metalayer=gap"], "no option 'metalayer'; nearest: 'meta_layer'"),
        (["schedule.epoch=3"], "no option 'schedule.epoch'; nearest: 'schedule.epochs', "),
        (["meta_layer=svd_pade", "meta_layer.degre=50"], "no option 'meta_layer.degre'; nearest: 'meta_layer.degree'"),
        (["protocol.placement=added"], "no option 'protocol.placement'; nearest: "),
        (["a=["], "no viable alternative"),
        (["protocol=hybrid", "meta_layer=gap"], "go on from 'isqrt_cov'"),
        (["protocol=hybrid", "protocol.warmup_epochs=6"], "allows at most 5 epochs; got warmup_epochs=6"),
        (["meta_layer.name=isqrt"], "no meta-layer 'isqrt'; nearest: 'isqrt_cov'"),
    ],
)
def test_mistakes_get_one_message_and_no_traceback(command, tmp_path, arguments, message):
    code, said = command(train.main, *arguments)
    assert code == 1
    assert f"gcp-train: {message}" in said or message in said
    assert "Traceback" not in said
    assert not list(tmp_path.rglob("result.json"))


def test_the_whole_traceback_is_there_on_demand(command, monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    with pytest.raises(Exception, match="Could not override 'seeed'"):
        command(train.main, "seeed=1")


def test_eval_asks_for_a_checkpoint(command):
    code, said = command(evaluate.main)
    assert code == 1
    assert "one of run=DIRECTORY and checkpoint=FILE" in said
    assert command(evaluate.main, "chekpoint=x")[1].startswith("gcp-train: no option 'chekpoint'; nearest: 'checkpoint'")
