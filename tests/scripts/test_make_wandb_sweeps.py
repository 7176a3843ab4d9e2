"""The sweeps of W&B make the runs that those of Hydra make."""

import itertools
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gcp_repro.cli.sweep import jobs_of_grid
from gcp_repro.paper.plan import BENCHMARKS, planned_runs, sweep_commands

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "scripts" / "wandb_sweeps").glob("*.yaml"))


def test_files_are_current():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "make_wandb_sweeps.py", "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    tables = {"table2", "table3", "table3_resnet101", "table4", "table11"}
    assert tables <= {path.stem for path in FILES}


def of_grid(content):
    """The configured values of each run of a sweep of W&B."""
    names = list(content["parameters"])
    return [
        dict(zip(names, values, strict=True))
        for values in itertools.product(*(entry["values"] for entry in content["parameters"].values()))
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_has_the_runs_of_the_command_in_the_plan(path):
    command = [part for part in sweep_commands()[path.stem].split() if part.startswith("experiment=")]
    params = yaml.safe_load((ROOT / "configs" / "sweep" / path.name).read_text())["hydra"]["sweeper"]["params"]
    jobs = jobs_of_grid([*command, *(f"{name}={values}" for name, values in params.items())])
    runs = of_grid(yaml.safe_load(path.read_text()))
    assert sorted(sorted(f"{name}={value}" for name, value in run.items()) for run in runs) == sorted(map(sorted, jobs))


def test_the_files_have_every_run_of_the_paper():
    """A row and a seed of an experiment are a run; what two tables share is in both sweeps."""
    planned = {
        (
            run.experiment,
            f"{run.meta_layer}{'_hybrid' if run.protocol == 'hybrid' else ''}",
            run.seed,
            run.warmup_epochs,
            run.dtype,
        )
        for run in planned_runs(BENCHMARKS)
    }
    runs = [run for path in FILES for run in of_grid(yaml.safe_load(path.read_text()))]
    found = {
        (
            run["experiment"],
            run["row"],
            run.get("seed", 0),
            run.get("protocol.warmup_epochs"),
            run.get("meta_layer.dtype", "float64"),
        )
        for run in runs
    }
    assert planned <= found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_values_are_choices_of_the_configuration(path, compose_train):
    last = of_grid(yaml.safe_load(path.read_text()))[-1]
    assert compose_train(*(f"{name}={value}" for name, value in last.items())).experiment_name == last["experiment"]
