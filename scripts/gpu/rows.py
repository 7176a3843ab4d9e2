"""The csv file that a script on a GPU leaves, also where it runs out of its time."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def rows_file(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Sequence[object]], None]]:
    """A csv file, and what writes a row to it: at once, so that a script out of its time leaves what it has measured."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")

        def write(row: Sequence[object]) -> None:
            writer.writerow(row)
            file.flush()

        write(columns)
        yield write
    print(f"written: {path}")
