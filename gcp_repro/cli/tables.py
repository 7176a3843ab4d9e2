"""`gcp-tables`: gather runs, and write the paper's tables and figures beside what was measured."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pandas as pd

from gcp_repro.cli.mistakes import explained
from gcp_repro.cli.printing import print_all
from gcp_repro.errors import OptionError
from gcp_repro.paper.measured.speed import read_bench
from gcp_repro.paper.page.report import Report, build_report, render_html
from gcp_repro.paper.plan import plan_table
from gcp_repro.paper.store.results import Results, gather, plural
from gcp_repro.paper.tables import export
from gcp_repro.paper.train_speed import read_train_speeds

__all__ = ["main"]

DEFAULT_OUTPUT = {
    "html": "reports/index.html",
    "md": "reports/tables.md",
    "csv": "reports/csv",
    "latex": "reports/tables.tex",
    "parquet": "reports/parquet",
}


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="gcp-tables",
        description="Put what was measured beside the paper's tables; Tables 6 to 10 are computed, even without runs.",
    )
    parser.add_argument(
        "runs",
        nargs="*",
        type=Path,
        metavar="RUNS",
        help="folders with run directories of gcp-train, at any depth, or with the runs.csv and epochs.csv of --format csv "
        "(default: runs)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        help="file to write, for csv and parquet a folder (default: in reports/)",
    )
    parser.add_argument(
        "--format",
        choices=tuple(DEFAULT_OUTPUT),
        default="html",
        help="html is one self-contained page (default); csv and parquet: all runs and epochs as tidy tables, and csv the rest",
    )
    parser.add_argument(
        "--bench",
        nargs="+",
        type=Path,
        metavar="PATH",
        help="csv files of gcp-bench, or folders with them: layers for Table 5, train for --plan (default: those in reports/)",
    )
    parser.add_argument(
        "--plan", action="store_true", help="write nothing; print the missing runs of the paper's tables as commands"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point.

    Args:
        arguments: Of the command line; `None` for the process's own.
    """
    options = build_parser().parse_args(arguments)
    with explained("gcp-tables"):
        results = gather(options.runs or _usual_runs())
        if options.plan:
            print_all("\n".join(_plan_lines(results, read_train_speeds(options.bench))))
            return
        output = options.output or Path(DEFAULT_OUTPUT[options.format])
        _check_overwriting(results, output)
        report = build_report(results, output, read_bench(options.bench))
        WRITERS[options.format](report, output)
    print(_account(results, output))


def _usual_runs() -> list[Path]:
    """Where gcp-train writes by default, if it did."""
    return [folder for folder in (Path(os.environ.get("GCP_RUNS_DIR", "runs")),) if folder.is_dir()]


def _check_overwriting(results: Results, output: Path) -> None:
    """Keep a report of runs from being replaced by one without any.

    Raises:
        OptionError: No run was found, and the output exists.
    """
    if not len(results.runs) and output.exists():
        raise OptionError(
            f"a report replaces an older one where runs were found; there were none, and '{output}' exists: name folders with "
            "runs, or another --output"
        )


def _plan_lines(results: Results, speeds: pd.DataFrame) -> Iterator[str]:
    table = plan_table(results, speeds)
    for line in (table.caption, *table.notes):
        yield f"# {line}"
    names = [column.name for column in table.columns]
    for row in table.rows:
        run = dict(zip(names, (cell.text for cell in row), strict=True))
        table_name = f"Table {run['table']}" if run["table"].isdigit() else run["table"]
        cost = f", about {run['GPU hours']} GPU hours" if run["GPU hours"] else ""
        yield f"{run['command']}  # {table_name}, from {run['starts from']}{cost}"


def _account(results: Results, output: Path) -> str:
    """What was read and written, problems included."""
    diverged = int((results.runs["status"] == "diverged").sum())
    imported = f", {plural(len(results.imported), 'import')}" if len(results.imported) else ""
    lines = [f"{plural(len(results.trained), 'run')} ({diverged} diverged){imported} -> {output}"]
    counts = Counter(problem.kind for problem in results.problems)
    if counts:
        lines.append(
            "left out: "
            + ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
            + "; reasons are in the report, first:"
        )
        lines += [f"  {problem.path}: {problem.reason}" for problem in results.problems[:3]]
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def _write_csv(report: Report, folder: Path) -> None:
    report.results.write_store(folder, "csv")
    for table in report.tables:
        if table.key != "run_list":
            _write(folder / f"{table.key}.csv", export.to_csv(table))


WRITERS: dict[str, Callable[[Report, Path], None]] = {
    "html": lambda report, path: _write(path, render_html(report)),
    "md": lambda report, path: _write(path, export.to_markdown(report.tables)),
    "csv": _write_csv,
    "parquet": lambda report, path: report.results.write_store(path, "parquet"),
    "latex": lambda report, path: _write(path, export.to_latex(report.tables)),
}

if __name__ == "__main__":
    main()
