"""Files that are numbered by their names, as tables and shards are: which numbers are missing."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

from gcp_repro.data.image_set import listing, report_partial
from gcp_repro.data.layouts.files import read_lines

__all__ = ["check_series", "missing_files"]

log = logging.getLogger(__name__)

COUNTED = re.compile(
    r"(.*?)(\d+)(-of-(\d+)).*?(\.\w+)", re.DOTALL
)  # train-00000-of-00294.parquet, or with a digest before the dot
NUMBERED = re.compile(r"(.*?)(\d+)()()\D*?(\.\w+)", re.DOTALL)  # the last number in the name


def missing_files(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Names that a series lacks: those of a stated number, and those between others where no number is stated.

    Numbers up to `-of-00294` count from 0 or from 1. Without a stated number a gap may be meant, as in years or where each split
    has some of the numbers; it is named where at least twice as many files are there.

    Example:
        >>> missing_files(["x-00001-of-00003.parquet", "train-08.tar", "train-11.tar", "train-09.tar", "train-12.tar"])
        (['x-00000-of-00003.parquet', 'x-00002-of-00003.parquet'], ['train-10.tar'])
    """
    series: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for name in names:
        if match := COUNTED.fullmatch(name) or NUMBERED.fullmatch(name):
            start, digits, total, count, suffix = match.groups()
            series[start, count, total + suffix].append(digits)
    stated: list[str] = []
    between: list[str] = []
    for (start, count, end), digits in sorted(series.items()):
        numbers, width = set(map(int, digits)), min(map(len, digits))
        highest = max(numbers)
        if count:
            first = int(0 not in numbers and highest == int(count))
            wanted = range(first, first + int(count)) if len(numbers) < int(count) else range(0)
        else:
            wanted = range(min(numbers), highest + 1)
            if 2 * (len(wanted) - len(numbers)) > len(numbers):
                continue
        absent = stated if count else between
        absent += [f"{start}{number:0{width}d}{end}" for number in wanted if number not in numbers]
    return stated, between


def check_series(root: Path, files: Sequence[Path], *, allow_partial: bool) -> None:
    """Refuse files of which some are missing by the number that they state, or that `nshards.txt` of clip-benchmark does.

    Args:
        root: What names start from in messages.
        files: Those of both splits, as either may have some numbers of one series.
        allow_partial: Warn of missing files instead of raising.

    Raises:
        DataError: Files are missing.
    """
    for folder in sorted({file.parent for file in files}):
        note, there = folder / "nshards.txt", sum(file.parent == folder for file in files)
        if note.is_file() and (stated := " ".join(read_lines(note))) != str(there):
            report_partial(
                f"{folder} needs the {stated} shards of nshards.txt; it has {there}",
                "fetch the rest",
                allow_partial=allow_partial,
            )
    names = [str(file.relative_to(root) if file.is_relative_to(root) else file) for file in files]
    absent, between = ([name for name in missing if not (root / name).exists()] for missing in missing_files(names))
    if absent:
        report_partial(
            f"{root} lacks {listing(absent)}, going by the names of the others",
            "fetch what is missing",
            allow_partial=allow_partial,
        )
    if between:
        words = "%s has no %s between files that are numbered alike; fetch what belongs to the data set"
        log.warning(words, root, listing(between))
