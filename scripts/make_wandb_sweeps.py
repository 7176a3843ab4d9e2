"""Write the sweeps of W&B that make the paper's tables, from those of Hydra in configs/sweep.

    python scripts/make_wandb_sweeps.py [--check]

Each file of `scripts/wandb_sweeps` is for `wandb sweep FILE`; agents then run `gcp-train` once for each row.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from gcp_repro.paper.plan import BENCHMARKS

ROOT = Path(__file__).parents[1]
SOURCES, TARGETS = ROOT / "configs" / "sweep", ROOT / "scripts" / "wandb_sweeps"
COMMAND = ["${env}", "gcp-train", "logger=wandb", "${args_no_hyphens}"]


def values_of(text: object) -> list[object]:
    """The values of an entry of Hydra's `sweeper.params`, as in "0,1,2"."""
    return [yaml.safe_load(value) for value in str(text).split(",")]


def sweep_of(name: str, text: str) -> str:
    """The W&B sweep that makes the same runs as a configuration of the group `sweep`, of the plan's experiments or its own."""
    title = text.splitlines()[1].removeprefix("# ")
    params = yaml.safe_load(text)["hydra"]["sweeper"]["params"]
    parameters: dict[str, list[object]] = {"experiment": [plan.experiment for plan in BENCHMARKS if plan.sweep == name]}
    parameters |= {name: values_of(values) for name, values in params.items()}
    content = {
        "project": "gcp_repro",
        "method": "grid",
        "metric": {"name": "val/top1_error", "goal": "minimize"},
        "parameters": {name: {"values": values} for name, values in parameters.items()},
        "command": COMMAND,
    }
    head = f"# {title.partition(':')[0]}. Generated from configs/sweep by scripts/make_wandb_sweeps.py; see docs/clusters.md.\n"
    return head + yaml.safe_dump(content, sort_keys=False, width=130)


def main() -> None:
    """Write the files, or with --check name those that are not current."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a file is not current")
    check = parser.parse_args().check
    wanted = {TARGETS / path.name: sweep_of(path.stem, path.read_text()) for path in sorted(SOURCES.glob("[!s]*.yaml"))}
    old = [path for path, text in wanted.items() if not path.exists() or path.read_text() != text]
    for path in [] if check else old:
        TARGETS.mkdir(exist_ok=True)
        path.write_text(wanted[path])
    if check and old:
        sys.exit("not current: " + ", ".join(path.name for path in old) + ": run python scripts/make_wandb_sweeps.py")


if __name__ == "__main__":
    main()
