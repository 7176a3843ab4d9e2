"""Change linalg and metalayers in one place at a time, and list the changes that no test sees: see docs/testing.md.

    python -m scripts.mutants [--every 4] [--start 0] [--only 'linalg/p*' metalayers/plain.py] [--seconds 60]
                               [--output reports/mutants.csv]

Every change runs in a fork of a process that has imported torch, over the tests that run its line, in a copy of the package.
"""

from __future__ import annotations

import argparse
import ast
import csv
import fnmatch
import itertools
import json
import math
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from typing import Any

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")

import coverage
import hydra  # noqa: F401  what the tests import, once for all
import hypothesis  # noqa: F401
import mpmath  # noqa: F401
import numpy  # noqa: F401
import pytest
import torch

from scripts.mutants.changes import Mutant, mutants_of

ROOT = Path(__file__).parents[2]
MUTATED = ("linalg", "metalayers")
TESTS = [f"tests/{package}" for package in MUTATED]
SLOW = "not compile and not entry_points and not spread_along and not operators_pass_the_checks"
COLUMNS = ("file", "number", "line", "kind", "before", "after", "tests", "result", "killed_by")
FEWEST = 5
OUT_OF_TIME = f"the process ended with {-signal.SIGALRM}"  # it hangs, or the machine is busy; a loop ends by its CPU time


@dataclass(frozen=True)
class Costs:
    """Which tests run a line, and for how long.

    Attributes:
        tests: Names and seconds.
        lines: Numbers of tests by file, and by file and line (`linalg/pade.py:40`).
    """

    tests: Sequence[tuple[str, float]]
    lines: Mapping[str, Sequence[int]]

    def of(self, *keys: str) -> dict[str, float]:
        """Seconds by test, of those that run any of these."""
        return dict(self.tests[number] for key in keys for number in self.lines.get(key, ()))


class _Tests:
    """A plugin of pytest: which tests run, in which order, and the first that fails."""

    def __init__(self, rank: Mapping[str, Any] | None = None) -> None:
        self.rank, self.failed, self.seconds = rank, "", dict[str, float]()
        self.cover: coverage.Coverage | None = None

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.rank is not None:
            chosen = sorted((item for item in items if item.nodeid in self.rank), key=lambda item: self.rank[item.nodeid])
            items[:] = chosen or items

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        if self.cover is not None:
            self.cover.switch_context(item.nodeid)
            for module in [module for name, module in sys.modules.items() if name.startswith("gcp_repro.")]:
                for value in vars(module).values():
                    if callable(getattr(value, "cache_clear", None)):
                        value.cache_clear()  # what was computed for an earlier test runs for this one too

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[report.nodeid] = self.seconds.get(report.nodeid, 0.0) + report.duration
        if report.failed and not self.failed:
            self.failed = report.nodeid

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed and not self.failed:
            self.failed = f"{report.nodeid} (collection)"


def main() -> None:
    parser = argparse.ArgumentParser(prog="mutants", description="List the changes of linalg and metalayers that no test sees.")
    parser.add_argument("--every", type=int, default=4, help=f"of a file's mutants each so manieth, and {FEWEST} at the least")
    parser.add_argument("--start", type=int, default=0, help="number of the first in each file")
    parser.add_argument("--only", nargs="+", default=["*"], metavar="PATTERN", help="files, as linalg/p*")
    parser.add_argument("--seconds", type=float, default=math.inf, help="of tests a change, beside its likely ones")
    parser.add_argument("--output", type=Path, default=Path("reports/mutants.csv"), help="rows; those in it are not run again")
    given = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as copy:
        for part in ("gcp_repro", "tests", "configs", "pyproject.toml"):
            source, target = ROOT / part, Path(copy, part)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        output = given.output.absolute()
        output.parent.mkdir(parents=True, exist_ok=True)
        os.chdir(copy)
        sys.path.insert(0, copy)
        os.environ["PYTHONPATH"] = copy
        sys.dont_write_bytecode = True  # of a changed file it would outlive the change
        _run(given, output)


def _run(given: argparse.Namespace, output: Path) -> None:
    known = {(row["file"], row["before"], row["after"], row["line"]) for row in _rows(output)}
    costs = _costs(output.with_suffix(".json"))
    with output.open("a", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if not known:
            writer.writeheader()
        for name, mutant in _order(_sample(given)):
            row = {"file": name, **{key: getattr(mutant, key) for key in ("number", "line", "kind", "before", "after")}}
            if (name, mutant.before, mutant.after, str(mutant.line)) not in known:
                writer.writerow(row | _outcome(name, mutant, costs, given.seconds))
                file.flush()


def _rows(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.open(newline=""))) if path.exists() else []


def _sample(given: argparse.Namespace) -> Iterator[tuple[str, Mutant]]:
    for path in sorted(path for package in MUTATED for path in Path("gcp_repro", package).rglob("*.py")):
        name = str(path.relative_to("gcp_repro"))
        if any(fnmatch.fnmatch(name, pattern) for pattern in given.only):
            mutants = mutants_of(path.read_text())
            every = min(given.every, max(1, len(mutants) // FEWEST))
            for mutant in mutants[given.start % every :: every]:
                yield name, mutant


def _order(sample: Iterator[tuple[str, Mutant]]) -> list[tuple[str, Mutant]]:
    """At random, after some of each file: what has run when it is stopped is a sample too."""
    mutants, of_file, turns = list(sample), Counter[str](), []
    random.Random(0).shuffle(mutants)
    for name, _ in mutants:
        of_file[name] += 1
        turns.append(min(of_file[name], FEWEST))
    return [mutant for _, mutant in sorted(zip(turns, mutants, strict=True), key=lambda pair: pair[0])]


def _costs(kept: Path) -> Costs:
    """What the tests run, without a change; measured once for a file of rows, and kept beside it."""

    def measure() -> str:
        plugin = _Tests()
        plugin.cover = cover = coverage.Coverage(data_file=None, include=[f"*/gcp_repro/{package}/*" for package in MUTATED])
        cover.start()
        code = pytest.main([*TESTS, "-q", "-k", SLOW, "-p", "no:cacheprovider"], plugins=[plugin])
        cover.stop()
        if code:
            raise SystemExit(f"the tests have to pass without a change; {plugin.failed} failed")
        data, tests, lines = cover.get_data(), list(plugin.seconds.items()), defaultdict[str, set[int]](set)
        number = {test: number for number, (test, _) in enumerate(tests)}
        for path in data.measured_files():
            name = str(Path(path).relative_to(Path("gcp_repro").absolute()))
            for line, contexts in data.contexts_by_lineno(path).items():
                for key in (name, f"{name}:{line}"):
                    lines[key] |= {number[test] for test in contexts if test}
        return json.dumps({"tests": tests, "lines": {key: sorted(numbers) for key, numbers in lines.items()}})

    if not kept.exists():
        code, text = _in_a_fork(measure, 3600, 3600)
        if code:
            raise SystemExit(text)
        kept.write_text(text)
    read = json.loads(kept.read_text())
    return Costs(read["tests"], read["lines"])


def _outcome(name: str, mutant: Mutant, costs: Costs, seconds: float) -> dict[str, Any]:
    """Whether the tests that run the changed lines see the change; those that run the file, where the lines run once for many."""
    path = Path("gcp_repro", name)
    original = path.read_text()
    lines = [name] if _runs_once(original, mutant) else [f"{name}:{line}" for line in range(mutant.line, mutant.last_line + 1)]
    tests = costs.of(*lines) or costs.of(name)  # lines that run at import alone
    likely = [f"tests/{Path(name).with_name('test_' + path.name)}", "tests/metalayers/test_values.py"]
    first = {test: cost for test, cost in tests.items() if test.split("::")[0] in likely}
    others = sorted((cost, test) for test, cost in tests.items() if test not in first)
    until = itertools.accumulate(cost for cost, _ in others)
    rest = {test: cost for (cost, test), spent in zip(others, until, strict=True) if spent <= seconds}
    path.write_text(mutant.source)
    Path(cache_from_source(str(path))).unlink(missing_ok=True)
    try:
        for stage in (first, rest):
            if stage and (killer := _killer(stage)):
                result = "stopped" if killer == OUT_OF_TIME else "killed"
                return {"tests": len(first | rest), "result": result, "killed_by": killer}
    finally:
        path.write_text(original)
    return {"tests": len(first | rest), "result": "survived" if tests else "not run"}


def _killer(tests: Mapping[str, float]) -> str:
    """The first of the tests that fails, by file and cost; empty if none does."""
    of_file = defaultdict[str, float](float)
    for test, seconds in tests.items():
        of_file[test.split("::")[0]] += seconds
    rank = {test: (of_file[file := test.split("::")[0]], file, cost) for test, cost in tests.items()}

    def run() -> str:
        plugin = _Tests(rank)
        code = pytest.main([*of_file, "-q", "-x", "-k", SLOW, "-p", "no:cacheprovider", "--no-header"], plugins=[plugin])
        return plugin.failed or (f"pytest ended with {code}" if code else "")

    expected = sum(tests.values())
    code, text = _in_a_fork(run, int(30 + 4 * expected), int(300 + 10 * expected))
    return text if code == 0 else f"the process ended with {code}"


def _runs_once(source: str, mutant: Mutant) -> bool:
    """Whether it is in a decorated function, as one whose results are kept, or in no function."""
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef) and node.body[0].lineno <= mutant.line <= (node.end_lineno or 0)
    ]
    plain = ("staticmethod", "property", "abstractmethod")
    return not functions or any(ast.unparse(each) not in plain for node in functions for each in node.decorator_list)


def _in_a_fork(work: Callable[[], str], cpu_seconds: int, seconds: int) -> tuple[int, str]:
    """Exit status and result of a function in a child, which ends at either limit."""
    with tempfile.TemporaryFile("w+") as result:
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 5))
            signal.alarm(seconds)
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, 1)
            os.dup2(nothing, 2)
            status = 1
            try:
                result.write(work())
                result.flush()
                status = 0
            except BaseException as error:
                result.write(str(error))
                result.flush()
            finally:
                os._exit(status)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        result.seek(0)
        return status, result.read()


if __name__ == "__main__":
    main()
