"""The results store: every run directory below any number of roots, as one table of runs and one of epochs.

What cannot be used is reported with the reason and never dropped in silence: runs that have not finished, files that cannot be
read, folders that hold something else, and runs that were counted already.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from gcp_repro.errors import MissingPathError, OptionError
from gcp_repro.paper.store.tidy import is_store, read_epochs, read_runs
from gcp_repro.runs import RunDirectory
from gcp_repro.runs.finding import find_runs
from gcp_repro.runs.schema import FIELDS, names_of
from gcp_repro.runs.states import state_of

__all__ = ["RUN_COLUMNS", "Problem", "Results", "gather", "plural"]

RUN_COLUMNS = (
    "run",
    *(field.name for field in FIELDS if field.kind not in ("mapping", "texts") and not field.name.startswith("imported_")),
    "python", "torch", "gcp_repro",
)  # fmt: skip
"""Columns of the tidy table, in order; further versions follow, then these:"""
FURTHER_COLUMNS = (*(field.name for field in FIELDS if field.name.startswith("imported_")), "setting")
NUMBERS = names_of("number", "count")
CELL_TEXTS = tuple(field.name for field in FIELDS if field.cell and field.kind == "text")

ProblemKind = Literal["incomplete", "unscored", "unreadable", "foreign", "repeated"]


@dataclass(frozen=True)
class Problem:
    """A folder or file that is not among the results, and why.

    Attributes:
        kind: `incomplete` (a run without a result), `unscored` (imported weights without one), `unreadable` (damaged),
            `foreign` (no run at all), `repeated` (counted already).
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

    @property
    def trained(self) -> pd.DataFrame:
        """Runs that were trained here, to whatever end."""
        return self.runs[self.runs["status"] != "imported"]

    @property
    def imported(self) -> pd.DataFrame:
        """Weights of other code that `gcp-eval` has scored."""
        return self.runs[self.runs["status"] == "imported"]

    def write_store(self, folder: Path, form: Literal["csv", "parquet"]) -> None:
        """Write the tidy tables, `runs` and `epochs`, into a folder that need not exist; `gather` reads those in csv back.

        Raises:
            OptionError: Parquet without pyarrow. "parquet files are written by pyarrow, which is not installed: ..."
        """
        if form == "parquet" and importlib.util.find_spec("pyarrow") is None:
            raise OptionError(
                "parquet files are written by pyarrow, which is not installed: "
                'pip install "gcp_repro[parquet]", or use --format csv'
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
        roots: Folders, or run directories themselves. One below another is no harm. A folder that holds `runs.csv` and
            `epochs.csv`, as `write_store` leaves them, stands for the runs in them.

    Raises:
        DataError: A root does not exist. "runs are gathered from folders; 'rums' does not exist: ..."
    """
    roots = list(roots)
    problems: list[Problem] = []
    rows: list[dict[str, Any]] = []
    curves: list[pd.DataFrame] = []
    steps: list[pd.DataFrame] = []
    stores = [root for root in map(Path, roots) if is_store(root)]
    for store in stores:
        known = {row["run"] for row in rows}
        rows.extend(row for row in read_runs(store) if row["run"] not in known)
        epochs = read_epochs(store)
        curves.append(epochs[~epochs["run"].isin(known)])
    known = {row["run"] for row in rows}
    for folder in _run_directories([root for root in roots if Path(root) not in stores], problems):
        row = _read_run(folder, problems) if str(folder) not in known else None
        if row is not None:
            rows.append(row)
            # a run may diverge before its first row, and imported weights have none
            run = RunDirectory(folder)
            if row["status"] == "finished" or run.metrics.is_file():
                curves.extend(_read_numbers(run.metrics, "epoch", problems))
            if run.steps.is_file():  # of a diagnostic that not every run has
                steps.extend(_read_numbers(run.steps, "step", problems))
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
            raise MissingPathError(
                f"runs are gathered from folders; '{root}' does not exist: give the folder that gcp-train wrote its runs to"
            )
        before = len(found)
        below, others = find_runs(root)
        found.update(dict.fromkeys(below))
        if len(found) == before and not others:
            problems.append(Problem("foreign", root, "no run directory below it that was not found already"))
        foreign = [Problem(other.kind, other.path, other.reason) for other in others]
        problems.extend(problem for problem in foreign if problem not in problems)  # roots may overlap
    return list(found)


def _read_run(folder: Path, problems: list[Problem]) -> dict[str, Any] | None:
    """The fields of a run's result as a row of the tidy table; None, and a problem, where there is none."""
    run = RunDirectory(folder)
    state = state_of(run)
    if state.state == "unscored":
        problems.append(Problem("unscored", folder, f"imported weights that have no score yet: gcp-eval run={folder}"))
    elif state.state == "unreadable":
        problems.append(Problem("unreadable", run.result, state.reason))
    elif not state.result:
        done = f", {plural(state.epochs, 'epoch')} in {run.metrics.name}" if run.metrics.is_file() else ""
        held = state.owner
        words = f"still going on (host {held['host']}, process {held['process']})" if held else "interrupted"
        problems.append(Problem("incomplete", folder, f"no {run.result.name}{done}: the run is {words}"))
    if not state.result:
        return None
    content = dict(state.result)
    versions = content.pop("versions", None) or {}
    content.pop("class_names", None)
    content["setting"] = json.dumps(content.get("setting") or {}, sort_keys=True)
    return {**versions, **content, "run": str(folder)}


def _read_numbers(path: Path, key: str, problems: list[Problem]) -> list[pd.DataFrame]:
    """The rows of a csv file of a run in which `key` is a number; none, and a problem, where it cannot be read."""
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
    frame.insert(0, "run", str(path.parent))
    return [frame.dropna(subset=[key])]


def _with_plain_columns(frame: pd.DataFrame) -> pd.DataFrame:
    """Columns of mixed kinds as text, which parquet needs."""
    mixed = [name for name in frame if frame[name].dtype == object]
    return frame.assign(**{str(name): frame[name].map(str, na_action="ignore") for name in mixed})


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    further = [column for column in frame.columns if column not in (*RUN_COLUMNS, *FURTHER_COLUMNS, "schema")]
    columns = [*RUN_COLUMNS, *further, *FURTHER_COLUMNS]
    frame = frame.reindex(columns=columns)
    for column in NUMBERS:
        frame[column] = pd.to_numeric(frame[column], errors="coerce")
    for column in CELL_TEXTS:
        frame[column] = frame[column].astype(object).fillna("")
    return frame


def _without_repetitions(runs: pd.DataFrame) -> tuple[pd.DataFrame, list[Problem]]:
    """One run for each identity, the first in order of discovery."""
    key = ["experiment", "config_hash"]
    first = runs.groupby(key, dropna=False, sort=False)["run"].transform("first") if len(runs) else runs["run"]
    first = first.where(runs["status"] != "imported", runs["run"])  # files may share all of that
    repeated = runs[first != runs["run"]]
    problems = [
        Problem("repeated", Path(run), f"the same run as {os.path.relpath(other, Path(run).parent)}, in every setting: left out")
        for run, other in zip(repeated["run"], first[repeated.index], strict=True)
    ]
    return runs.drop(repeated.index).reset_index(drop=True), problems
