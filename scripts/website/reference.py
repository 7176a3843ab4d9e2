"""The reference: a page a package, with every public name of its modules from their docstrings."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "gcp_repro"


def write_pages(folder: Path) -> None:
    """Write `index.md` and a page for each package and module directly in `gcp_repro`."""
    folder.mkdir()
    rows = []
    for name, modules in pages().items():
        first = (ast.get_docstring(_tree(_path(f"gcp_repro.{name}"))) or "").partition("\n")[0]
        rows.append(f"| [`gcp_repro.{name}`]({name}.md) | {first} |\n")
        blocks = [_block(module, names) for module, names in modules if names]
        (folder / f"{name}.md").write_text(f"# gcp_repro.{name}\n\n{first}\n\n" + "\n".join(blocks), encoding="utf-8")
    table = "| package | what it is |\n| --- | --- |\n" + "".join(rows)
    (folder / "index.md").write_text(f"# Reference\n\nEvery public name, from its docstring.\n\n{table}", encoding="utf-8")


def pages() -> dict[str, list[tuple[str, list[str]]]]:
    """Modules and the names to show of each, with where they are defined, by package.

    A name that a package re-exports stands under the package alone.
    """
    found: dict[str, list[tuple[str, list[str]]]] = {}
    shown: set[str] = set()
    for path in sorted(
        PACKAGE.rglob("*.py"), key=lambda path: (path.with_suffix("").parts[:-1], path.name != "__init__.py", path.name)
    ):
        parts = [part for part in path.relative_to(PACKAGE).with_suffix("").parts if part != "__init__"]
        names = [name for name in _definitions(".".join(("gcp_repro", *parts)), _tree(path)) if name not in shown]
        if parts:
            shown.update(names)
            found.setdefault(parts[0], []).append((".".join(("gcp_repro", *parts)), names))
    return {name: modules for name, modules in found.items() if any(names for _, names in modules)}


def _block(module: str, names: list[str]) -> str:
    """Directives of mkdocstrings for names of a module."""
    return f"## {module}\n\n" + "".join(f"::: {name}\n\n" for name in names)


def _definitions(module: str, tree: ast.Module) -> list[str]:
    """Where the names in a module's `__all__` are defined."""
    imports = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    origins = {alias.asname or alias.name: f"{node.module}.{alias.name}" for node in imports for alias in node.names}
    return [origins.get(name, f"{module}.{name}") for name in _public(tree)]


def _path(module: str) -> Path:
    path = PACKAGE.parent / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _public(tree: ast.Module) -> Iterator[str]:
    """Names in `__all__`."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == "__all__" for target in node.targets
        ):
            yield from ast.literal_eval(node.value)
