"""What `make reproduce` trains, and that it does."""

import signal
from collections import Counter

import pytest

from gcp_repro.cli import reproduce
from gcp_repro.cli.reproduce import ARMS, Arm, Plan, main, plans
from gcp_repro.data.arrays import ARRAY_SETS
from gcp_repro.errors import StorageError
from gcp_repro.paper.store.statistics import MIN_PAIRS
from gcp_repro.runs.identity import config_hash, initial_stage_hash, setting_of
from gcp_repro.runs.interruption import TrainingInterrupted

CORES, LIMIT, QUICK_LIMIT = 2, 12 * 60, 3 * 60
START_UP = 20  # seconds of a core: imports of the workers, and the report


@pytest.mark.parametrize("quick", [True, False])
def test_every_arm_has_the_replicates_that_a_claim_needs(quick):
    counts = Counter(plan.arm for plan in plans(quick))
    assert counts == dict.fromkeys((arm for arm in ARMS if arm.quick or not quick), MIN_PAIRS)


@pytest.mark.parametrize(("quick", "limit"), [(False, LIMIT), (True, QUICK_LIMIT)])
def test_the_time_stays_within_what_the_readme_promises(quick, limit):
    assert CORES * START_UP + sum(plan.arm.seconds for plan in plans(quick)) < CORES * limit


def test_initialisation_order_and_training_images_follow_the_seed_and_the_test_images_do_not(compose_train):
    first, second = (compose_train(*plan.overrides) for plan in plans(quick=False)[:2])
    assert setting_of(first) == setting_of(second)
    for config, seed in ((first, 0), (second, 1)):
        assert (config.seed, config.data.seed, config.data.subset_seed) == (seed, seed, seed)
        assert config.data.eval_size is None
        assert ARRAY_SETS[config.data.dataset].packaged is not None


def test_arms_are_runs_of_their_own_in_one_setting_but_for_alexnets_head_and_share_the_initial_stage(compose_train):
    configurations = [compose_train(*plan.overrides) for plan in plans(quick=False) if plan.seed == 0]
    assert len({config_hash(config) for config in configurations}) == len(ARMS)
    settings = Counter(str(sorted(setting_of(config).items())) for config in configurations)
    assert sorted(settings.values()) == [2, len(ARMS) - 2]
    assert [list(config.model.hidden_dims) for config in configurations].count([256, 256]) == 2
    hybrid = [config for config in configurations if config.protocol.name == "hybrid"]
    assert len(hybrid) == sum("protocol=hybrid" in arm.overrides for arm in ARMS) > 1
    assert len({initial_stage_hash(config) for config in hybrid}) == 1


def test_runs_and_report_are_written_and_kept(monkeypatch, tmp_path, capsys):
    arm = Arm("data.train_size=40 data.batch_size=10 schedule.epochs=1 schedule.milestones=[] callbacks=none meta_layer=gap", 1)
    monkeypatch.setattr(reproduce, "plans", lambda quick: [Plan(arm, 0)])
    arguments = ["--quick", "--jobs", "1", "--runs-dir", str(tmp_path / "runs"), "--report", str(tmp_path / "report.html")]
    for _ in range(2):
        main(arguments)
        said = capsys.readouterr().out
        assert "[  1/1] error" in said
        assert "1 run (0 diverged)" in said
    assert len([*tmp_path.glob("runs/*/*/result.json")]) == 1
    assert "<html" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--jobs", "0"], "--jobs must be a whole number >= 1; got 0 for gcp-reproduce"),
        (["--runs-dir", "file"], "--runs-dir needs a folder; got 'file' ("),
        (["--runs-dir", "file/runs"], "--runs-dir needs a folder; got 'file"),
        (["--report", "file/index.html"], "--report needs a folder; got 'file' ("),
        (["--report", "."], "--report needs a file; got the folder '.': add a name, as in index.html"),
    ],
)
def test_a_mistake_gets_one_message_before_any_run(monkeypatch, tmp_path, capsys, arguments, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit):
        main(arguments)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"gcp-reproduce: {message}")


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (StorageError("run", "full"), 1, "writing run failed (full): make room"),
        (TrainingInterrupted(signal.SIGTERM), 143, "stopped by SIGTERM; run the same command again to go on"),
        (KeyboardInterrupt(), 130, "stopped by Ctrl-C; the same command goes on"),
    ],
)
def test_what_ends_a_run_ends_the_command_with_one_message(monkeypatch, tmp_path, capsys, error, code, message):
    def fails(*_):
        raise error

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(reproduce, "run", fails)
    with pytest.raises(SystemExit) as stop:
        main(["--jobs", "1"])
    assert stop.value.code == code
    assert capsys.readouterr().err.startswith(f"gcp-reproduce: {message}")
