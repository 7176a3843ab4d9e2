"""What each package is for and what it may import, as its docstring says it; docs/architecture.md lists it, a test holds to it.

A docstring ends with a line

    Imports: `a`, `b.c`; of others `numpy`, `torch`.

`a` and `b.c` are packages or modules below `gcp_repro`, and what these import is allowed too. `all` allows everything, `nothing`
nothing. After "of others" stand the libraries outside of the standard one, where there is a limit to them. Every package and
module directly in `gcp_repro` has such a line; one further down may have one for itself.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"^Imports: (?P<ours>.+?)(?:; of others (?P<others>.+))?\.$", re.MULTILINE)


@dataclass(frozen=True)
class Rule:
    """What the docstring of one package says.

    Attributes:
        name: Below `gcp_repro`, dotted.
        path: The package's folder or the module's file.
        purpose: The docstring's first line.
        ours: Names below `gcp_repro` that it may import; `None` for all.
        others: Libraries that it may import; `None` for any.
    """

    name: str
    path: Path
    purpose: str
    ours: tuple[str, ...] | None
    others: tuple[str, ...] | None


def module_name(path: Path) -> str:
    """`linalg.pade` of `gcp_repro/linalg/pade.py`, `linalg` of `gcp_repro/linalg/__init__.py`."""
    return ".".join(part for part in path.relative_to(ROOT / "gcp_repro").with_suffix("").parts if part != "__init__")


def rules() -> dict[str, Rule]:
    """Every rule by name, and each below those that it builds on.

    Raises:
        graphlib.CycleError: Packages that may import each other.
    """
    found = {}
    for path in sorted((ROOT / "gcp_repro").rglob("*.py")):
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        if (match := LINE.search(docstring)) is not None:
            name = module_name(path)
            ours = None if match["ours"] == "all" else _names(match["ours"])
            others = None if match["others"] is None else _names(match["others"])
            place = path.parent if path.name == "__init__.py" else path
            found[name] = Rule(name, place, docstring.splitlines()[0], ours, others)
    order = TopologicalSorter({name: rule.ours or () for name, rule in found.items()}).static_order()
    everything = [name for name, rule in found.items() if rule.ours is None]
    return {name: found[name] for name in [*(name for name in order if name not in everything), *everything] if name in found}


def _names(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`([\w.]+)`", text))


def allowed(name: str, known: dict[str, Rule]) -> set[str] | None:
    """The names that a package may import, with what those may import, and itself; `None` for all."""
    rule = known[name]
    if rule.ours is None:
        return None
    return {name}.union(*(allowed(other, known) or known for other in rule.ours))


def imported(path: Path) -> Iterator[str]:
    """Dotted names of all that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def broken(path: Path, known: dict[str, Rule]) -> Iterator[str]:
    """What a file imports against the rules of the packages that it is in."""
    for rule in [rule for rule in known.values() if _within(module_name(path), [rule.name])]:
        ours = allowed(rule.name, known)
        for name in imported(path):
            package, _, rest = name.partition(".")
            if package == "gcp_repro":
                fault, may = rest and ours is not None and not _within(rest, ours), ours
            else:
                fault, may = rule.others is not None and package not in {*rule.others, *sys.stdlib_module_names}, rule.others
            if fault:
                may_import = ", ".join(sorted(may or ())) or "nothing"
                yield f"{path.relative_to(ROOT)} imports {name}; {rule.name} may import {may_import}"


def _within(name: str, packages: Iterable[str]) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)
