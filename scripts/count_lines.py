"""Lines that hold code, without blank ones, comments and docstrings, of each package: scripts/make_docs.py tables them.

python scripts/count_lines.py
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "gcp_repro"
LAYOUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER)
}
EARNS = {
    ("linalg", "registry.py", "locks.py", "errors.py"): (
        "matrix functions, every gradient, both routes, solvers, precisions, operators that compile, export and differentiate "
        "twice; names for one's own"
    ),
    ("metalayers",): "the layers as modules",
    ("models", "export"): "covariance pooling in any network of three libraries, the hub, ONNX",
    ("data",): (
        "six public data sets in every form that they are found in, checked; shards and streams that resume; decoding at twice "
        "torchvision's speed"
    ),
    ("training", "trust.py"): (
        "the hybrid swap, exact resume, several devices, what happens where something is not finite, the paper's diagnostics"
    ),
    (
        "runs",
        "weight_files.py",
        "stand_ins.py",
        "user_paths.py",
    ): "run directories: names, locks, files that survive, fields of a result",
    ("paper",): "the paper's tables beside what was measured, with intervals, as a page and in five formats",
    ("weights",): "checkpoints of the published code in and out, to the last bit",
    ("bench",): "speed and memory beside the limit and a peer, where a step's time goes, and the choice of a solver on a machine",
    ("cli",): "the commands, their messages, sweeps",
}
"""What would be lost with the packages and modules directly in gcp_repro."""


def code_lines(source: str) -> int:
    """Number of lines with a token that is neither layout nor part of a bare string."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    held = {line for token in tokens if token.type not in LAYOUT for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            held.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(held)


def lines_in(places: Iterable[Path]) -> int:
    """Lines of code of files, and of all files in folders."""
    files = [file for place in places for file in (place.rglob("*.py") if place.is_dir() else [place])]
    return sum(code_lines(file.read_text(encoding="utf-8")) for file in files)


def entries(package: Path) -> Iterator[Path]:
    """The packages and modules directly in a package, without its own `__init__.py`."""
    for path in sorted(package.iterdir()):
        if (path.suffix == ".py" and path.name != "__init__.py") or (path / "__init__.py").exists():
            yield path


def size_table(package: Path = PACKAGE) -> str:
    """Markdown table of the packages' lines, and what they earn.

    Raises:
        ValueError: `EARNS` lacks a package, or has one that is gone.
    """
    there, said = {path.name for path in entries(package)}, {name for names in EARNS for name in names}
    if there != said:
        raise ValueError(f"EARNS of scripts/count_lines.py lacks {sorted(there - said)}, and has {sorted(said - there)} too many")
    rows = ["| package | lines | what it earns |", "| --- | --- | --- |"]
    for names, earned in EARNS.items():
        listed = ", ".join(f"`{name}`" for name in names)
        rows.append(f"| {listed} | {two_digits(lines_in(package / name for name in names))} | {earned} |")
    return "\n".join([*rows, f"| all | {two_digits(lines_in([package]))} | |"]) + "\n"


def two_digits(number: int) -> str:
    """Rounded, so that not every change of the code changes it."""
    return f"{float(f'{number:.2g}'):,.0f}"


def main() -> None:
    for entry in [*entries(PACKAGE), PACKAGE, ROOT / "tests", ROOT / "scripts"]:
        print(f"{entry.relative_to(ROOT)!s:28} {lines_in([entry]):6} lines of code")


if __name__ == "__main__":
    main()
