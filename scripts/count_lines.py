"""Lines that hold code, without blank ones, comments and docstrings, of each package: docs/architecture.md quotes them.

python scripts/count_lines.py
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYOUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING, tokenize.ENDMARKER)
}


def code_lines(source: str) -> int:
    """Number of lines with a token that is neither layout nor part of a bare string."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    held = {line for token in tokens if token.type not in LAYOUT for line in range(token.start[0], token.end[0] + 1)}
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            held.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return len(held)


def main() -> None:
    entries = [path for path in sorted((ROOT / "gcp_repro").iterdir()) if path.suffix == ".py" or (path / "__init__.py").exists()]
    for entry in [*entries, ROOT / "gcp_repro", ROOT / "tests", ROOT / "scripts"]:
        files = [*entry.rglob("*.py")] if entry.is_dir() else [entry]
        lines = sum(code_lines(file.read_text(encoding="utf-8")) for file in files)
        print(f"{entry.relative_to(ROOT)!s:28} {len(files):4} files {lines:6} lines of code")


if __name__ == "__main__":
    main()
