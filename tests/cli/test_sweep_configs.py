"""The sweeps over the paper's tables: their jobs are the planned runs, configuration by configuration. And those of the study."""

from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest
from hydra import compose, initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser

from gcp_repro.paper.plan import planned_runs
from gcp_repro.runs.identity import config_hash

SWEEPS = (
    ("table2", "alexnet_imagenet", "2"),
    ("table3", "resnet50_imagenet", "3"),
    ("table3_resnet101", "resnet101_imagenet", "3"),
    ("table4", "resnet50_birds", "4"),
    ("figure2", "alexnet_imagenet", "Figure 2"),
)


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


def test_warm_ups_and_seeds():
    warmups = jobs("table11", "experiment=alexnet_imagenet")
    assert [(c.meta_layer.name, c.protocol.name, c.protocol.warmup_epochs) for c in warmups] == [
        ("svd_pade", "hybrid", length) for length in range(4)
    ]
    assert {config_hash(c) for c in planned("alexnet_imagenet", "11")} < {config_hash(c) for c in warmups}
    seeds = jobs("appendix_g", "experiment=alexnet_imagenet")
    assert [c.seed for c in seeds] == list(range(5))
    assert {c.protocol.name for c in seeds} == {"standalone"}


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
