"""Files that are numbered by their names, as tables and shards are: which numbers are missing."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from gcp_repro.data.image_set import listing, report_partial
from gcp_repro.data.layouts.files import read_lines
from gcp_repro.errors import DataError

__all__ = ["check_series", "missing_files", "report_missing"]

COUNTED = re.compile(
    r"(.*?)(\d+)(-of-(\d+))(.*?)(\.\w+)", re.DOTALL
)  # train-00000-of-00294.parquet, or with a digest before the dot
NUMBERED = re.compile(r"(.*?)(\d+)(\D*)", re.DOTALL)  # the last number in the name
WIDEST_GAP = 10_000  # numbers that are further apart are dates and the like


def missing_files(names: Iterable[str]) -> list[str]:
    """Names that a series of names lacks: all up to `-of-00294`, else those between the first and the last.

    Example:
        >>> missing_files(["train-08.tar", "train-11.tar", "val-0.tar", "x-00001-of-00003.parquet"])
        ['train-09.tar', 'train-10.tar', 'x-00000-of-00003.parquet', 'x-00002-of-00003.parquet']
    """
    series: dict[tuple[str, str, int | None], list[str]] = defaultdict(list)
    for name in names:
        if counted := COUNTED.fullmatch(name):
            series[counted[1], counted[3] + counted[6], int(counted[4])].append(counted[2])
        elif numbered := NUMBERED.fullmatch(name):
            series[numbered[1], numbered[3], None].append(numbered[2])
    absent = []
    for (start, end, count), digits in sorted(series.items(), key=lambda item: item[0][:2]):
        numbers, width = set(map(int, digits)), min(map(len, digits))
        wanted = range(count) if count is not None else range(min(numbers), max(numbers) + 1)
        if len(wanted) - len(numbers) <= WIDEST_GAP:
            absent += [f"{start}{number:0{width}d}{end}" for number in wanted if number not in numbers]
    return absent


def check_series(root: Path, files: Sequence[Path], *, allow_partial: bool) -> None:
    """Refuse files of which some are missing by their numbers, or by `nshards.txt`, which clip-benchmark puts beside shards.

    Args:
        root: What names start from in messages.
        files: Those of one split.
        allow_partial: Warn of missing files instead of raising.

    Raises:
        DataError: Files are missing.
    """
    note = files[0].parent / "nshards.txt"
    if note.is_file() and read_lines(note) != [str(len(files))]:
        raise DataError(
            f"{files[0].parent} needs the {' '.join(read_lines(note))} shards of nshards.txt; it has {len(files)}: fetch the rest"
        )
    report_missing(
        str(root), [str(file.relative_to(root) if file.is_relative_to(root) else file) for file in files], allow_partial
    )


def report_missing(place: str, names: Iterable[str], allow_partial: bool) -> None:
    """Say which names of a series are missing, for whatever holds it.

    Raises:
        DataError: Some are, and `allow_partial` is false.
    """
    absent = missing_files(names)
    if absent:
        report_partial(
            f"{place} lacks {listing(absent)}, going by the numbers of the others",
            "fetch what is missing",
            allow_partial=allow_partial,
        )
