"""The runs of docs/study.md as rows: configuration, outcome, revision and the command that repeats it.

    python -m scripts.study.rows RUNS [--output results/study]

Writes runs.csv (a row a finished or diverged run below RUNS) and epochs.csv (a row an epoch). Every command is composed again
and must give the run's own configuration. Rows that are there already stay as they are, so that later versions of the package
need not read the directories of earlier ones; `--again` writes all of them anew.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from gcp_repro.runs.identity import PLACES_AND_MEANS, register_resolvers

CHANCE_LOSS, CHANCE_ERROR = math.log(10), 90.0
LAYER_OPTIONS = ("forward", "gradient", "num_iterations", "exponent", "max_gradient")
EPOCH_COLUMNS = {
    "epoch": "epoch",
    "learning_rate": "learning_rate",
    "meta_layer": "layer",
    "train/loss": "train_loss",
    "diagnostics/condition_number": "condition_number",
    "diagnostics/condition_number_range": "condition_number_range",
    "diagnostics/rank": "rank",
    "diagnostics/beta_smoothness": "beta_smoothness",
    "diagnostics/parameter_smoothness": "parameter_smoothness",
    "diagnostics/gradient_norm": "gradient_norm",
    "diagnostics/gradient_error": "gradient_error",
    "diagnostics/gradient_cosine": "gradient_cosine",
    "seconds": "seconds",
}


def flat(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of nested mappings as dotted keys; lists are leaves."""
    for key, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def comparable(config: DictConfig) -> dict[str, Any]:
    """What decides a run's numbers, flat, without the places of its data and files."""
    content = OmegaConf.to_container(config, resolve=True)
    return {
        key: value
        for key, value in flat(content)
        if not any(f"{key}.".startswith(f"{name}.") for name in PLACES_AND_MEANS)
        and not str(value).startswith(str(config.paths.run_dir))
    }


def overrides_of(config: DictConfig) -> list[str]:
    """Overrides of `gcp-train` that compose a run's configuration again; options younger than the run are at their defaults.

    Raises:
        ValueError: They do not.
    """
    choices = [f"experiment={config.experiment_name}", f"meta_layer={config.meta_layer.name}"]
    choices += [f"protocol={config.protocol.name}"] * (config.protocol.name != "standalone") + [f"seed={config.seed}"]
    wanted, changed = comparable(config), []
    for _ in range(3):  # a changed value may change others that refer to it
        found = comparable(compose("train", choices + changed))
        differing = [key for key, value in wanted.items() if key not in found or found[key] != value]
        if not differing:
            return choices[:-1] + changed + choices[-1:]
        changed += [f"{'' if key in found else '+'}{key}={written(wanted[key])}" for key in differing]
    raise ValueError(f"{choices + changed} does not compose the configuration of a run with {choices}")


def written(value: object) -> str:
    """A value as Hydra's command line takes it."""
    text = json.dumps(value)
    return text.replace(" ", "").replace('"', "")


def run_row(run: Path, config: DictConfig) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A run's row and the rows of its epochs."""
    result = json.loads((run / "result.json").read_text())
    metrics = pd.read_csv(run / "metrics.csv") if (run / "metrics.csv").exists() else pd.DataFrame(columns=list(EPOCH_COLUMNS))
    epochs = metrics.rename(columns=EPOCH_COLUMNS)[[name for old, name in EPOCH_COLUMNS.items() if old in metrics]]
    losses = [*epochs["train_loss"], *[CHANCE_LOSS] * (config.schedule.epochs - len(epochs))]
    layer, finished = config.meta_layer, result["status"] == "finished"
    options = overrides_of(config)
    row = {
        "experiment": config.experiment_name,
        "split": config.data.get("split"),
        "train_size": config.data.get("train_size"),
        "channels": config.model.reduce_dim,
        "hidden": " ".join(map(str, config.model.hidden_dims)),
        "rate": config.optimizer.lr,
        "clip_norm": config.gradient_clip_norm,
        "epochs": config.schedule.epochs,
        "decays": " ".join(map(str, config.schedule.milestones)),
        "layer": layer.name,
        "route": layer.get("route"),
        "dtype": layer.get("dtype"),
        **{name: layer.get(name) for name in LAYER_OPTIONS},
        "protocol": config.protocol.name,
        "warmup_epochs": result["warmup_epochs"],
        "seed": config.seed,
        "status": result["status"],
        "error": result["final_top1_error"] if finished else CHANCE_ERROR,
        "loss_area": sum(losses) / len(losses),
        "last_loss": losses[-1],
        "wall_seconds": result["wall_time_seconds"],
        "torch": result["versions"]["torch"],
        "git_revision": result["git_revision"],
        "config_hash": result["config_hash"],
        "command": f"gcp-train {' '.join(options)}",
    }
    return row, [{"config_hash": result["config_hash"], **epoch} for epoch in epochs.to_dict("records")]


def stored(path: Path) -> pd.DataFrame:
    """A csv file as it is written, every cell as text; empty if there is none."""
    return pd.read_csv(path, dtype=str, keep_default_na=False) if path.exists() else pd.DataFrame()


def as_written(rows: list[dict[str, Any]], columns: list[str] | None = None) -> pd.DataFrame:
    """Rows with every cell as the text that stands in the csv file."""
    if not rows:
        return pd.DataFrame()
    text = pd.DataFrame(rows, columns=columns).to_csv(index=False, float_format="%.5g", lineterminator="\n")
    return pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)


def by_command(command: pd.Series) -> pd.Series:
    """The order of runs.csv: seeds by number."""
    return command.str.replace(r"seed=(\d+)$", lambda match: f"{int(match[1]):04d}", regex=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs, as in paths.runs_dir")
    parser.add_argument("--output", type=Path, default=Path("results/study"), help="folder to write to")
    parser.add_argument("--again", action="store_true", help="also the rows that are there already")
    arguments = parser.parse_args()
    register_resolvers()
    places = {name: arguments.output / f"{name}.csv" for name in ("runs", "epochs")}
    before = {name: pd.DataFrame() if arguments.again else stored(path) for name, path in places.items()}
    known = set(before["runs"].get("config_hash", []))
    rows, epochs = [], []
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        for result in sorted(arguments.runs.glob("*/*/result.json")):
            config = OmegaConf.load(result.parent / "config.yaml")
            assert isinstance(config, DictConfig)
            if json.loads(result.read_text())["config_hash"] in known:
                continue
            row, of_epochs = run_row(result.parent, config)
            rows.append(row)
            epochs += of_epochs
    columns = ["config_hash", *EPOCH_COLUMNS.values()]
    after = {"runs": as_written(rows), "epochs": as_written(epochs, columns)}
    found = {name: pd.concat([before[name], after[name]], ignore_index=True) for name in places}
    table = found["runs"].sort_values("command", key=by_command)
    arguments.output.mkdir(parents=True, exist_ok=True)
    table.to_csv(places["runs"], index=False, lineterminator="\n")
    in_order = table[["config_hash"]].merge(found["epochs"], on="config_hash")
    in_order.to_csv(places["epochs"], index=False, lineterminator="\n")
    print(f"{len(table)} runs, {len(rows)} of them new, {int((table['status'] != 'finished').sum())} not finished")
    return 0


if __name__ == "__main__":
    sys.exit(main())
