"""Tutorials: scripts in cells (`# %%`), which editors open as notebooks, run from top to bottom into pages."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "tutorials"
ORDER = ("use_a_layer", "compare_layers", "reproduce_a_table", "read_the_diagnostics", "add_a_layer")
CELL = re.compile(r"^# %%( \[markdown\])?\n", re.MULTILINE)


def write_pages(folder: Path) -> None:
    """Run every tutorial, and write its page and the script beside it."""
    folder.mkdir()
    titles = []
    for name in ORDER:
        page = run(FOLDER / f"{name}.py")
        title, text = page.split("\n", 1)
        note = (
            f"The cells ran from top to bottom when this page was built: [{name}.py]({name}.py), as a script or as a notebook.\n"
        )
        (folder / f"{name}.md").write_text(f"{title}\n\n{note}{text}", encoding="utf-8")
        shutil.copy(FOLDER / f"{name}.py", folder)
        summary = text.strip().partition("\n\n")[0].replace("\n", " ")
        titles.append(f"- [{title.removeprefix('# ')}]({name}.md). {summary}\n")
    (folder / "index.md").write_text(
        "# Tutorials\n\nEach runs in seconds on two cores, and downloads nothing.\n\n" + "".join(titles)
    )


def run(path: Path) -> str:
    """A tutorial as Markdown, with what its cells print."""
    return _run(path, path.read_text(encoding="utf-8"))


@functools.cache
def _run(path: Path, source: str) -> str:
    names = {"__name__": "__main__"}
    parts = []
    with _elsewhere():
        for code, text, line in _cells(source):
            if not code:
                parts.append(re.sub(r"^# ?", "", text, flags=re.MULTILINE).strip())
                continue
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile("\n" * line + text, str(path), "exec"), names)
            parts.append(f"```python\n{text.strip()}\n```")
            output = printed.getvalue().strip("\n")
            if output:
                parts.append(output if output[0] in "#|" else f'```text title="prints"\n{output}\n```')  # Markdown as it is
    return "\n\n".join(parts) + "\n"


def _cells(source: str) -> Iterator[tuple[bool, str, int]]:
    """Whether a cell is code, its text, and the number of lines before it."""
    marks = [*CELL.finditer(source)]
    for mark, after in zip(marks, [*(following.start() for following in marks[1:]), len(source)], strict=True):
        yield mark[1] is None, source[mark.end() : after], source[: mark.end()].count("\n")


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """A folder in which tutorials leave their runs."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)
