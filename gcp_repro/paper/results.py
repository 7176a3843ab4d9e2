"""The results store: every run directory below any number of roots, as one table of runs and one of epochs.

What cannot be used is reported with the reason and never dropped in silence: runs that have not finished, files that cannot be
read, folders that hold something else, and runs that were counted already.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from omegaconf import DictConfig, OmegaConf
from yaml import YAMLError  # type: ignore[import-untyped]

from gcp_repro.errors import DataError, OptionError

__all__ = ["CELL_COLUMNS", "Problem", "Results", "gather", "plural"]

SCHEMA = 1
REQUIRED = ("status", "experiment", "meta_layer", "protocol", "seed")
CELL_COLUMNS = (
    "experiment",
    "backbone",
    "epochs",
    "meta_layer",
    "meta_layer_options",
    "dtype",
    "route",
    "protocol",
    "warmup_epochs",
)
"""Runs that agree in these and differ in the seed are repetitions of one another."""
RUN_COLUMNS = (
    "run", "status", "message", "experiment", "data", "backbone", "meta_layer", "meta_layer_options", "route", "dtype",
    "protocol", "warmup_epochs", "swap_epoch", "seed",
    "epochs", "final_top1_error", "final_top5_error", "final_loss", "best_top1_error", "best_top5_error", "best_epoch",
    "wall_time_seconds", "samples_per_second", "device", "num_parameters", "python", "torch", "gcp_repro",
    "git_revision", "config_hash",
)  # fmt: skip
"""Columns of the tidy table, in order; further versions follow."""
NUMBERS = (
    "warmup_epochs", "swap_epoch", "epochs", "final_top1_error", "final_top5_error", "final_loss", "best_top1_error",
    "best_top5_error",
    "best_epoch", "wall_time_seconds", "samples_per_second", "num_parameters",
)  # fmt: skip
RESULT_FILE, METRICS_FILE, CONFIG_FILE, STEPS_FILE = "result.json", "metrics.csv", "config.yaml", "eigenvalue_ratio.csv"
RUN_FILES = (RESULT_FILE, METRICS_FILE, CONFIG_FILE, "train.log")

ProblemKind = Literal["incomplete", "unreadable", "foreign", "repeated"]


@dataclass(frozen=True)
class Problem:
    """A folder or file that is not among the results, and why.

    Attributes:
        kind: `incomplete` (a run without a result), `unreadable` (damaged), `foreign` (no run at all),
            `repeated` (counted already).
        path: Where.
        reason: What was found, in words.
    """

    kind: ProblemKind
    path: Path
    reason: str


@dataclass(frozen=True)
class Results:
    """What was found.

    Attributes:
        runs: One row a run, `RUN_COLUMNS` first; `run` is its directory, absolute.
        epochs: One row an epoch: `run`, `epoch` and the columns of `metrics.csv`, what is no finite number as NaN.
        problems: What is not in `runs`, or is there with something missing.
        steps: One row a measurement of the first steps: `run`, `step` and the columns of `eigenvalue_ratio.csv`.
    """

    runs: pd.DataFrame
    epochs: pd.DataFrame
    problems: tuple[Problem, ...] = ()
    steps: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["run", "step"]))

    @property
    def finished(self) -> pd.DataFrame:
        """Runs that trained to their end with a finite loss."""
        return self.runs[self.runs["status"] == "finished"]

    def write_store(self, folder: Path, form: Literal["csv", "parquet"]) -> None:
        """Write the tidy tables, `runs` and `epochs`, into a folder that need not exist.

        Raises:
            OptionError: Parquet without pyarrow. "parquet files are written by pyarrow, which is not installed: ..."
        """
        if form == "parquet" and importlib.util.find_spec("pyarrow") is None:
            raise OptionError(
                "parquet files are written by pyarrow, which is not installed: pip install pyarrow, or use --format csv"
            )
        folder.mkdir(parents=True, exist_ok=True)
        for name, frame in (("runs", self.runs), ("epochs", self.epochs)):
            path = folder / f"{name}.{form}"
            if form == "csv":
                frame.to_csv(path, index=False, lineterminator="\n")
            else:
                _with_plain_columns(frame).to_parquet(path, index=False, engine="pyarrow")


def gather(roots: Iterable[str | Path]) -> Results:
    """Read every run directory below `roots`.

    Args:
        roots: Folders, or run directories themselves. One below another is no harm.

    Raises:
        DataError: A root does not exist. "runs are gathered from folders; 'rums' does not exist: ..."
    """
    problems: list[Problem] = []
    rows: list[dict[str, Any]] = []
    curves: list[pd.DataFrame] = []
    steps: list[pd.DataFrame] = []
    for folder in _run_directories(roots, problems):
        row = _read_run(folder, problems)
        if row is not None:
            rows.append(row)
            if row["status"] == "finished" or (folder / METRICS_FILE).is_file():  # a run may diverge before its first row
                curves.extend(_read_numbers(folder, METRICS_FILE, "epoch", problems))
            if (folder / STEPS_FILE).is_file():  # of a diagnostic that not every run has
                steps.extend(_read_numbers(folder, STEPS_FILE, "step", problems))
    runs = _frame(rows)
    runs, repeated = _without_repetitions(runs)
    return Results(runs, _of_runs(curves, runs, "epoch"), (*problems, *repeated), _of_runs(steps, runs, "step"))


def _of_runs(frames: Sequence[pd.DataFrame], runs: pd.DataFrame, key: str) -> pd.DataFrame:
    joined = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["run", key])
    return joined[joined["run"].isin(runs["run"])].reset_index(drop=True)


def plural(count: int, noun: str) -> str:
    """A count with its noun.

    Example:
        >>> plural(1, "run"), plural(3, "run")
        ('1 run', '3 runs')
    """
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _run_directories(roots: Iterable[str | Path], problems: list[Problem]) -> list[Path]:
    found: dict[Path, None] = {}
    for root in map(Path, roots):
        if not root.is_dir():
            raise DataError(
                f"runs are gathered from folders; '{root}' does not exist: give the folder that gcp-train wrote its runs to"
            )
        before = len(found)
        foreign: list[Path] = []
        found.update(dict.fromkeys(_walk(root.resolve(), foreign)))
        if len(found) == before and not foreign:
            problems.append(Problem("foreign", root, "no run directory below it that was not found already"))
        problems.extend(
            Problem("foreign", path, "files, but none of a run (result.json, metrics.csv, config.yaml)") for path in foreign
        )
    return list(found)


def _walk(folder: Path, foreign: list[Path]) -> Iterator[Path]:
    """Run directories at or below `folder`; folders with files and no run in them go to `foreign`, the outermost one each."""
    entries = sorted(folder.iterdir())
    if any((folder / name).is_file() for name in RUN_FILES):
        yield folder
        return
    below_foreign: list[Path] = []
    runs = [run for entry in entries if entry.is_dir() and not entry.name.startswith(".") for run in _walk(entry, below_foreign)]
    if runs or not (below_foreign or any(entry.is_file() for entry in entries)):
        foreign.extend(below_foreign)
        yield from runs
    else:
        foreign.append(folder)


def _read_run(folder: Path, problems: list[Problem]) -> dict[str, Any] | None:
    path = folder / RESULT_FILE
    if not path.is_file():
        problems.append(
            Problem("incomplete", folder, f"no {RESULT_FILE}{_progress(folder)}: the run was interrupted or is still going on")
        )
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        problems.append(Problem("unreadable", path, f"not JSON: {error}"))
        return None
    reason = _objection(content)
    if reason:
        problems.append(Problem("unreadable", path, reason))
        return None
    versions = content.pop("versions", None) or {}
    if content["status"] == "diverged":  # its own number of epochs says when it ended, not what it is to be compared with
        content["epochs"] = _planned_epochs(folder) or content.get("epochs")
    return {"run": str(folder), **versions, **content}


def _planned_epochs(folder: Path) -> int | None:
    try:
        config = OmegaConf.load(folder / CONFIG_FILE)
    except (OSError, YAMLError):
        return None
    epochs = OmegaConf.select(config, "schedule.epochs") if isinstance(config, DictConfig) else None
    return epochs if isinstance(epochs, int) else None


def _objection(content: Any) -> str | None:
    """Why the content of a result file is not a result of ours; `None` if it is."""
    if not isinstance(content, Mapping):
        return f"needs an object; got {type(content).__name__}"
    if content.get("schema") != SCHEMA:
        return f"needs schema {SCHEMA}; got {content.get('schema')!r}: written by another program or version"
    missing = [name for name in REQUIRED if content.get(name) is None]
    if missing:
        return f"lacks {', '.join(missing)}"
    if content["status"] not in ("finished", "diverged"):
        return f"needs status finished or diverged; got {content['status']!r}"
    if not isinstance(content["seed"], int):
        return f"needs an integer seed; got {content['seed']!r}"
    error = content.get("final_top1_error")
    if content["status"] == "finished" and not (isinstance(error, int | float) and math.isfinite(error)):
        return f"needs a final_top1_error when finished; got {error!r}"
    return None


def _progress(folder: Path) -> str:
    path = folder / METRICS_FILE
    if not path.is_file():
        return ""
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return f", {plural(max(0, len(lines) - 1), 'epoch')} in {METRICS_FILE}"


def _read_numbers(folder: Path, name: str, key: str, problems: list[Problem]) -> list[pd.DataFrame]:
    """The rows of a csv file of a run in which `key` is a number; none, and a problem, where it cannot be read."""
    path = folder / name
    try:
        frame = pd.read_csv(path)
    except (OSError, ValueError) as error:  # pandas' parser errors are ValueErrors
        problems.append(Problem("unreadable", path, f"curves are missing: {error}"))
        return []
    if key not in frame:
        problems.append(
            Problem("unreadable", path, f"curves are missing: no column {key} among {', '.join(map(str, frame.columns))}")
        )
        return []
    numbers = frame.columns.difference(["meta_layer"])
    frame[numbers] = frame[numbers].apply(pd.to_numeric, errors="coerce").replace([math.inf, -math.inf], math.nan)
    frame.insert(0, "run", str(folder))
    return [frame.dropna(subset=[key])]


def _with_plain_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed kinds as text, which parquet needs."""
    mixed = [name for name in frame if frame[name].dtype == object]
    return frame.assign(**{str(name): frame[name].map(str, na_action="ignore") for name in mixed})


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    columns = [*RUN_COLUMNS, *(column for column in frame.columns if column not in RUN_COLUMNS and column != "schema")]
    frame = frame.reindex(columns=columns)
    for column in NUMBERS:
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
    for column in ("backbone", "meta_layer_options", "dtype", "route"):
        frame[column] = frame[column].astype(object).fillna("")
    return frame


def _without_repetitions(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """One run for each seed of each cell, the first in order of discovery."""
    key = [*CELL_COLUMNS, "seed"]
    first = runs.groupby(key, dropna=False, sort=False)["run"].transform("first") if len(runs) else runs["run"]
    repeated = runs[first != runs["run"]]
    problems = [
        Problem(
            "repeated",
            Path(run),
            f"same experiment, layer, protocol and seed as {os.path.relpath(other, Path(run).parent)}: left out",
        )
        for run, other in zip(repeated["run"], first[repeated.index], strict=True)
    ]
    return runs.drop(repeated.index).reset_index(drop=True), problems
