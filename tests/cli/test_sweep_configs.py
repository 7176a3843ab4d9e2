"""The sweeps over the paper's tables: their jobs are the planned runs, configuration by configuration. And those of the study."""

from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from gcp_repro.paper.plan import BENCHMARKS, LATER_BENCHMARKS, planned_runs
from gcp_repro.runs.identity import config_hash, setting_of

SWEEPS = [(benchmark.sweep, benchmark.experiment, benchmark.table) for benchmark in BENCHMARKS if benchmark.of_table2 is None]
SWEEP_FILES = Path(str(files("gcp_repro.configs"))) / "sweep"


def choices(sweep, *overrides):
    """What the jobs of `gcp-train OVERRIDES sweep=SWEEP` add to it, as Hydra's sweeper takes the file apart."""
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        params = compose("train", [*overrides, f"sweep={sweep}"], return_hydra_config=True).hydra.sweeper.params
    parsed = OverridesParser.create().parse_overrides([f"{key}={values}" for key, values in params.items()])
    swept = (
        [f"{one.get_key_element()}={value}" for value in one.sweep_string_iterator()]
        if one.is_sweep_override()
        else [one.input_line]
        for one in parsed
    )
    return list(product(*swept))


def jobs(sweep, *overrides):
    """The configurations that `gcp-train OVERRIDES sweep=SWEEP` trains."""
    combinations = choices(sweep, *overrides)
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        return [compose("train", [*overrides, f"sweep={sweep}", *job]) for job in combinations]


def planned(experiment, *tables):
    runs = [run for run in planned_runs() if run.table in tables and run.experiment == experiment]
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        return [compose("train", run.command.split()[1:]) for run in runs]


@pytest.mark.parametrize(("sweep", "experiment", "table"), SWEEPS)
def test_jobs_are_the_rows_of_the_table(sweep, experiment, table):
    swept = {config_hash(config) for config in jobs(sweep, f"experiment={experiment}")}
    assert swept == {config_hash(config) for config in planned(experiment, table)}
    assert len(swept) > 1


@pytest.mark.parametrize("sweep", ["riemgcp_table5", "dropcov_main", "isice_birds"])
def test_jobs_are_the_rows_of_later_tables(sweep):
    """Experiments are named by the sweep."""
    composed = jobs(sweep)
    experiments = dict.fromkeys(config.experiment_name for config in composed)
    expected = [config for name in experiments for config in planned(name, "RiemGCP 5", "DropCov", "iSICE")]
    assert {config_hash(config) for config in composed} == {config_hash(config) for config in expected}
    assert len(composed) == len(expected) > 1


def test_rates_that_differ_by_layer_are_those_of_the_published_commands():
    """dataset.training.lr, classifier_factor, batch_size and epochs of RiemGCP's experiments.sh and conf/dataset."""
    found = {
        (c.experiment_name, c.meta_layer.name): (c.optimizer.lr, c.classifier_lr_multiplier, c.data.batch_size, c.schedule.epochs)
        for c in jobs("riemgcp_table5")
    }
    assert len(found) == 12
    assert {found["riemgcp_aircraft", name] for _, name in found} == {(5e-3, 5.0, 8, 50)}
    assert found["riemgcp_birds", "pow_tmlr"] == (5e-3, 1.0, 6, 100)
    assert found["riemgcp_cars", "pow_tmlr"] == (5e-3, 1.0, 10, 100)
    for name in ("isqrt_cov", "scale_pow_emlr", "log_cholesky"):
        assert found["riemgcp_birds", name] == found["riemgcp_cars", name] == (5e-2, 10.0, 10, 100)


def test_what_follows_from_the_layer_is_no_other_setting():
    """Rows with rates of their own stand in one table; a rate that is typed does not."""
    settings = [setting_of(config) for config in jobs("riemgcp_table5") if config.experiment_name == "riemgcp_birds"]
    assert all(setting == settings[0] for setting in settings)
    other = jobs("riemgcp_table5", "optimizer.lr=0.3")
    assert setting_of(next(c for c in other if c.experiment_name == "riemgcp_birds")) != settings[0]
    strides = {(c.meta_layer.name, c.model.backbone.last_stride) for c in jobs("dropcov_main")}
    assert strides == {("gap", 2), ("dropcov", 1)}


def test_warm_ups_and_seeds():
    warmups = jobs("table11", "experiment=alexnet_imagenet")
    assert [(c.meta_layer.name, c.protocol.name, c.protocol.warmup_epochs) for c in warmups] == [
        ("svd_pade", "hybrid", length) for length in range(4)
    ]
    assert {config_hash(c) for c in planned("alexnet_imagenet", "11")} < {config_hash(c) for c in warmups}
    seeds = jobs("appendix_g", "experiment=alexnet_imagenet")
    assert [c.seed for c in seeds] == list(range(5))
    assert {c.protocol.name for c in seeds} == {"standalone"}


def test_every_row_is_one_of_the_plan():
    rows = {row for benchmark in BENCHMARKS for row in benchmark.choices["row"]}
    rows |= {row for benchmark in LATER_BENCHMARKS for row, _ in benchmark.rows}
    assert {path.stem for path in (SWEEP_FILES.parent / "row").glob("*.yaml")} == rows


@pytest.mark.parametrize("experiment", ["study", "resnet50_imagenet"])
@pytest.mark.parametrize("sweep", sorted(path.stem for path in SWEEP_FILES.glob("study_*.yaml")))
def test_sweeps_of_the_study_compose_here_and_elsewhere(sweep, experiment):
    """The first job and the last, which hold the first and the last value of every choice."""
    combinations = choices(sweep, f"experiment={experiment}")
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        given = [f"experiment={experiment}", f"sweep={sweep}"]
        first, last = (compose("train", [*given, *combinations[place]]) for place in (0, -1))
    assert config_hash(first) != config_hash(last)
    assert first.experiment_name == experiment
