"""Where the two splits of a data set are: folders and lists by name, tables and shards by a word of their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from gcp_repro.data.image_set import SPLITS, Split, listing
from gcp_repro.data.layouts.series import check_series
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import entries_of, is_set_aside
from gcp_repro.errors import DataError

__all__ = [
    "LIST_SUFFIXES",
    "TABLES_AND_SHARDS",
    "USUAL_NAMES",
    "check_copies",
    "files_of_splits",
    "find_files",
    "find_paths",
    "names_of",
    "packed_archives",
]

USUAL_NAMES: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation"),
}
LIST_SUFFIXES = (".txt", ".csv", ".tsv", ".lst", ".jsonl")
LISTS_IN_FOLDERS = ("metadata.csv", "metadata.jsonl")  # of the hub's folders of images
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.xz", ".txz", ".tar.bz2", ".tbz2", ".tar.zst", ".zip", ".rar", ".7z")
TABLES_AND_SHARDS = (".parquet", ".tar")
COMPARED = 1 << 16  # bytes of files of one size
FOLDERS_OF_FILES = ("", "data", "default")
"""Where tables and shards lie below a root; each may have a folder a split."""


def names_of(options: OpenOptions, split: Split) -> tuple[str, ...]:
    """The names of a split that the user gave; empty if the usual ones are to be tried."""
    return options.train_split if split == "train" else options.val_split


def find_paths(root: Path, split: Split, options: OpenOptions, *, lists_first: bool = False) -> list[str]:
    """The folders or list files of a split, relative to the root: what the user named, or what has a usual name, or `[]`."""
    given = names_of(options, split)
    if given:
        return [_inside(root, _below(root, name), lists_first=lists_first) for name in given]
    present_names = sorted((entry.name for entry in entries_of(root)), reverse=True)  # lower case first
    folders = [(usual, True) for usual in USUAL_NAMES[split]]
    lists = [(usual + suffix, False) for usual in USUAL_NAMES[split] for suffix in LIST_SUFFIXES]
    for wanted, is_folder in lists + folders if lists_first else folders + lists:
        for name in present_names:
            if name.lower() == wanted and (root / name).is_dir() == is_folder:
                return [_inside(root, name, lists_first=lists_first) if is_folder else name]
    return []


def _below(root: Path, name: str) -> str:
    """A name that a user gave, relative to the root where it leads there."""
    path = Path(name)
    return str(path.relative_to(root.absolute())) if path.is_relative_to(root.absolute()) else name


def _inside(root: Path, name: str, *, lists_first: bool) -> str:
    """A split's folder, the one in it of the same name where an archive was unpacked so, or the list in it of its images."""
    entries = {entry.name: entry for entry in entries_of(root / name) if not is_set_aside(entry.name)}
    folders = [inner for inner, entry in entries.items() if entry.is_dir()]
    listed = [f"{name}/{file}" for file in LISTS_IN_FOLDERS if file in entries]
    if lists_first and listed and len(folders) < 2:  # one folder holds the images of the list and is no class
        return listed[0]
    inner = f"{name}/{Path(name).name}"
    return inner if folders == [Path(name).name] and any(entry.is_dir() for entry in entries_of(root / inner)) else name


def find_files(root: Path, split: Split, suffix: str, options: OpenOptions) -> list[Path]:
    """Tables or shards of a split, sorted: `train-00000-of-00294.parquet`, `imagenet1k-train-0000.tar` or `train/0.tar`.

    A file belongs to a split if the split's name is a word of the file's name or of its folder's.
    """
    given = names_of(options, split)
    if given:
        return sorted({path for name in given for path in _named(root, name, suffix)})
    return next((files for usual in USUAL_NAMES[split] if (files := sorted(_with_word(root, usual, suffix)))), [])


def files_of_splits(root: Path, suffix: str, options: OpenOptions) -> dict[Split, list[Path]]:
    """The tables or shards of both splits.

    Raises:
        DataError: A split has none, both have the same, or files are missing by the number that the others state.
    """
    files = {split: find_files(root, split, suffix, options) for split in SPLITS}
    for split, paths in files.items():
        if not paths:
            raise DataError(
                f"files of the {split!r} split are needed; {root} has no *{split}-*{suffix}: download them, or name the split by "
                f"data.{split}_split"
            )
    both = sorted({*files["train"]} & {*files["val"]})
    if both:
        raise DataError(
            f"training and evaluation need files of their own; {listing(both)} would be in both: errors on images that "
            "were trained on would mean nothing; set data.train_split and data.val_split apart"
        )
    named = {root / name for split in SPLITS for name in names_of(options, split)}  # one by one, so that none is missing
    searched = [path for paths in files.values() for path in paths if path not in named]
    check_series(root, searched, allow_partial=options.allow_partial)
    return files


def check_copies(files: Sequence[Path]) -> None:
    """Refuse two names of one content: files of one size that begin alike.

    Raises:
        DataError: A table or shard is a copy of another.
    """
    sizes = Counter(file.stat().st_size for file in files)
    first: dict[tuple[int, bytes], Path] = {}
    for file in files:
        if sizes[size := file.stat().st_size] > 1:
            with file.open("rb") as content:
                other = first.setdefault((size, content.read(COMPARED)), file)
            if other != file:
                raise DataError(
                    f"each table or shard needs images of its own; {file} is a copy of {other}: remove one of the two, and where "
                    "they stand for both splits, put other images there"
                )


def _named(root: Path, name: str, suffix: str) -> Iterable[Path]:
    """The table or shard of a name that a user gave, or those with this word in their names."""
    return [root / name] if name.endswith(suffix) and (root / name).is_file() else _with_word(root, name, suffix)


def _with_word(root: Path, word: str, suffix: str) -> Iterator[Path]:
    pattern = re.compile(rf"(?:^|[-_./=]){re.escape(word)}(?:[-_./]|$)", re.IGNORECASE)
    for base in FOLDERS_OF_FILES:
        folders = [
            "", *(entry.name for entry in entries_of(root / base) if entry.is_dir() and pattern.search(entry.name))
        ]  # fmt: skip
        for folder in folders:
            for entry in entries_of(root / base / folder):
                if entry.name.endswith(suffix) and pattern.search(f"{folder}/{entry.name}") and not is_set_aside(entry.name):
                    yield root / base / folder / entry.name


def packed_archives(folder: Path) -> Sequence[str]:
    """Names of the archives in a folder that have no folder of their name beside them: the outer archive alone is unpacked."""
    entries = entries_of(folder)
    folders = {entry.name for entry in entries if entry.is_dir()}
    archives = [
        (entry.name, suffix) for entry in entries for suffix in ARCHIVES
        if entry.name.lower().endswith(suffix) and not is_set_aside(entry.name)
    ]  # fmt: skip
    return sorted(name for name, suffix in archives if name[: -len(suffix)] not in folders)
