"""`gcp-status`: the state of runs, told from their directories alone; needs no torch, and disturbs nobody."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from gcp_repro.cli.mistakes import explained
from gcp_repro.cli.printing import print_all
from gcp_repro.errors import MissingPathError
from gcp_repro.paper.tables.export import to_csv, to_markdown
from gcp_repro.paper.tables.table import Column, Table, label
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.durations import duration
from gcp_repro.runs.finding import find_runs
from gcp_repro.runs.status import COLUMNS, status_of

__all__ = ["main"]

PACKAGES = (
    "gcp_repro", "torch", "torchvision", "pytorch-lightning", "hydra-core", "omegaconf", "numpy", "timm", "wandb", "joblib",
)  # fmt: skip
GPUS = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]

Row = dict[str, Any]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="gcp-status", description="List runs with state, epoch, errors, speed, time left and host, from their directories."
    )
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUNS",
        help="folders with run directories of gcp-train, at any depth (default: runs)",
    )
    parser.add_argument("--format", choices=tuple(WRITERS), default="text", help="text is for the eye (default)")
    parser.add_argument("--state", nargs="+", metavar="STATE", help="only runs in these states, as --state running interrupted")
    parser.add_argument(
        "--environment",
        action="store_true",
        help="instead print versions of this installation and machine, for a report of a fault",
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point.

    Args:
        arguments: Of the command line; `None` for the process's own.
    """
    options = build_parser().parse_args(arguments)
    if options.environment:
        print_all("\n".join(f"{name}: {text}" for name, text in environment().items()))
        return
    with explained("gcp-status"):
        _list(options)


def _list(options: argparse.Namespace) -> None:
    """Print the runs.

    Raises:
        MissingPathError: A folder is not there.
    """
    roots = options.runs or [Path("runs")]
    missing = [root for root in roots if not root.is_dir()]
    if missing:
        raise MissingPathError(
            f"runs are listed from folders; '{missing[0]}' does not exist: give the folder that gcp-train writes to"
        )
    folders = dict.fromkeys(folder for root in roots for folder in find_runs(root)[0])
    rows = [status_of(RunDirectory(folder)) for folder in folders]
    shown = [row for row in rows if not options.state or row["state"] in options.state]
    print_all(WRITERS[options.format](shown).rstrip("\n"))


def environment() -> dict[str, str]:
    """Versions of what numbers and faults may depend on, without importing any of it."""
    facts = {"platform": platform.platform(), "python": platform.python_version(), "cores": str(os.cpu_count())}
    for name in PACKAGES:
        try:
            facts[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts[name] = "not installed"
    facts["GPUs"] = _gpus()
    return facts


def _gpus() -> str:
    if shutil.which(GPUS[0]) is None:
        return "no nvidia-smi"
    try:
        done = subprocess.run(GPUS, capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.SubprocessError) as error:
        return f"nvidia-smi failed: {error}"
    return "; ".join((done.stdout or done.stderr).strip().splitlines()) or "none"


def _cells(row: Row) -> list[str]:
    """As shown."""
    texts = {
        "epoch": "" if row["epoch"] is None else f"{row['epoch']}/{row['epochs'] or '?'}",
        "error": _number(row["error"], "{:.2f}"),
        "best": _number(row["best"], "{:.2f}"),
        "images/s": _number(row["images/s"], "{:.0f}"),
        "left": "" if row["seconds_left"] is None else duration(row["seconds_left"]),
    }
    return [str(texts.get(name, row.get(name) or "")) for name in COLUMNS]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def _account(rows: Sequence[Row]) -> str:
    counts = Counter(row["state"] for row in rows)
    total = f"{len(rows)} run{'' if len(rows) == 1 else 's'}"
    return ": ".join(filter(None, (total, ", ".join(f"{count} {state}" for state, count in counts.items()))))


def _table(rows: Sequence[Row]) -> Table:
    cells = tuple(tuple(label(text) for text in _cells(row)) for row in rows)
    return Table("runs", "Runs", tuple(Column(name) for name in COLUMNS), cells, caption=_account(rows))


def _text(rows: Sequence[Row]) -> str:
    lines = [list(COLUMNS), *(_cells(row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(COLUMNS))]
    shown = ("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines)
    return "\n".join((*(shown if rows else ()), _account(rows)))


def _json(rows: Iterable[Row]) -> str:
    return json.dumps(list(rows), indent=2)


WRITERS: dict[str, Callable[[Sequence[Row]], str]] = {
    "text": _text,
    "json": _json,
    "csv": lambda rows: to_csv(_table(rows)),
    "md": lambda rows: to_markdown([_table(rows)]),
}

if __name__ == "__main__":
    main()
