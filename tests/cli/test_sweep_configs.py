"""The sweeps over the paper's tables: their jobs are the planned runs, configuration by configuration."""

from itertools import product

import pytest
from hydra import compose, initialize_config_module

from gcp_repro.paper.plan import planned_runs
from gcp_repro.runs.identity import config_hash

SWEEPS = (
    ("table2", "alexnet_imagenet", "2"),
    ("table3", "resnet50_imagenet", "3"),
    ("table3_resnet101", "resnet101_imagenet", "3"),
    ("table4", "resnet50_birds", "4"),
    ("figure2", "alexnet_imagenet", "Figure 2"),
)


def jobs(sweep, *overrides):
    """The configurations that `gcp-train OVERRIDES sweep=SWEEP` trains."""
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        given = [*overrides, f"sweep={sweep}"]
        params = compose("train", given, return_hydra_config=True).hydra.sweeper.params
        values = [[f"{key}={value}" for value in str(choices).split(",")] for key, choices in params.items()]
        return [compose("train", [*given, *job]) for job in product(*values)]


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
