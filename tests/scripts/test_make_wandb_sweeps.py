"""The sweeps of W&B make the runs that those of Hydra make."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gcp_repro.cli.sweep import jobs_of_grid

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "scripts" / "wandb_sweeps").glob("*.yaml"))


def test_files_are_current():
    done = subprocess.run([sys.executable, ROOT / "scripts" / "make_wandb_sweeps.py", "--check"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    tables = {"table2", "table3", "table3_resnet101", "table4", "table11"}
    assert tables <= {path.stem for path in FILES}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_has_as_many_runs_as_the_sweep_of_hydra_and_their_values(path, compose_train):
    content = yaml.safe_load(path.read_text())
    params = yaml.safe_load((ROOT / "configs" / "sweep" / path.name).read_text())["hydra"]["sweeper"]["params"]
    runs = 1
    for entry in content["parameters"].values():
        runs *= len(entry["values"])
    assert runs == len(jobs_of_grid([f"{name}={values}" for name, values in params.items()]))
    first = [f"{name}={entry['values'][-1]}" for name, entry in content["parameters"].items()]
    assert compose_train(*first).experiment_name == content["parameters"]["experiment"]["values"][-1]
