"""Which form of a data set lies where below a folder, and words for where none does."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from gcp_repro.data.catalog import CatalogEntry, Layout
from gcp_repro.data.image_set import listing
from gcp_repro.data.layouts.lacking import Lack
from gcp_repro.data.layouts.split_names import TABLES_AND_SHARDS, USUAL_NAMES, find_files, packed_archives
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import entries_of, is_set_aside
from gcp_repro.errors import DataError, MissingPathError, UnknownNameError
from gcp_repro.stand_ins import stand_in_at

__all__ = ["find_layout", "with_usual_splits"]

SEARCHED_FOLDERS = 300  # for a form that lies deeper than expected
SEARCHED_DEPTH = 3


def find_layout(entry: CatalogEntry, root: Path, name: str, options: OpenOptions) -> tuple[Layout, Path]:
    """The layout asked for or found, and the folder it was found in.

    Args:
        entry: The data set.
        root: Holds it, or one of its usual folders.
        name: One of its layouts, or "auto".
        options: Names of the splits.

    Raises:
        UnknownNameError: No such layout.
        MissingPathError: No such folder, or no split of a name that was given.
        DataError: None of the layouts is there whole.
    """
    if name != "auto" and name not in entry.layouts:
        raise UnknownNameError(f"layout of {entry.title}", name, ["auto", *entry.layouts])
    if not root.is_dir():
        found = "a file" if root.is_file() else stand_in_at(root) or "none"
        raise MissingPathError(f"{entry.title} needs a folder; there is {found} at {root}: {_how_to_get(entry)}")
    entries_of(root)  # a folder without rights says so
    wanted = entry.layouts if name == "auto" else {name: entry.layouts[name]}
    places = [root, *(root / folder for folder in entry.subfolders if (root / folder).is_dir())]
    for place in places:
        for layout in wanted.values():
            if not layout.lacking(place, options):
                return layout, place
    _check_given(entry, places, options)
    _refuse(entry, wanted, places, options)


def with_usual_splits(entry: CatalogEntry, place: Path, options: OpenOptions) -> OpenOptions:
    """The options with the entry's own names of splits where the user gave none and all of them are there."""
    if options.train_split or options.val_split:
        return options
    for usual in entry.splits:
        names = (*usual.train_split, *usual.val_split)
        if all((place / name).exists() or _in_files(place, name) for name in names):
            return replace(options, train_split=usual.train_split, val_split=usual.val_split)
    return options


def _in_files(place: Path, name: str) -> bool:
    return any(find_files(place, "train", suffix, OpenOptions(train_split=(name,))) for suffix in TABLES_AND_SHARDS)


def _how_to_get(entry: CatalogEntry) -> str:
    return f"{entry.advice}, and set data.root or GCP_DATA_DIR to the folder"


def _check_given(entry: CatalogEntry, places: Sequence[Path], options: OpenOptions) -> None:
    """Refuse names of splits that are nowhere."""
    given = (*options.train_split, *options.val_split)
    absent = [name for name in given if not any((place / name).exists() or _in_files(place, name) for place in places)]
    if absent:
        instead = [f"{name} is {found}" for name in absent for found in [stand_in_at(places[0] / name)] if found]
        raise MissingPathError(
            f"{entry.title} needs {' and '.join(map(repr, absent))}; looked in {', '.join(map(str, places))}; "
            f"{'; '.join(instead) or _content(places[0])}: name what is there by data.train_split and data.val_split"
        )


def _refuse(entry: CatalogEntry, wanted: dict[str, Layout], places: Sequence[Path], options: OpenOptions) -> NoReturn:
    """Say what was needed, what is there instead, and the one thing to do about it."""
    found, remedy = _elsewhere(entry, wanted, places[0], options) or _in_part(wanted, places, options) or _else(places[0])
    likeliest = next(iter(wanted.values())).lacking(places[0], options)
    raise DataError(
        f"{entry.title} needs {_names(likeliest)}; looked in {', '.join(map(str, places))}; "
        f"{found}: {remedy or _how_to_get(entry)}"
    )


def _names(lacks: Sequence[Lack]) -> str:
    return " and ".join(" or ".join(map(repr, lack.name.split("|"))) for lack in lacks)


def _in_part(wanted: dict[str, Layout], places: Sequence[Path], options: OpenOptions) -> tuple[str, str] | None:
    """Words about forms of which a part is there."""
    found = []
    for place, (name, layout) in itertools.product(places, wanted.items()):
        lacks = layout.lacking(place, options)
        said = next((lack for lack in lacks if lack.found), None)
        if said is not None:
            return said.found, said.remedy
        if len(lacks) < len(layout.lacking(place / "nothing here", options)):
            found.append(f"{place} is in the form {name!r} but for {_names(lacks)}")
    return ("; ".join(found), "") if found else None


def _else(root: Path) -> tuple[str, str]:
    """Words about what a root holds that is in none of the forms."""
    packed = packed_archives(root)
    return _content(root), f"unpack {listing(packed)}" if packed else ""


def _elsewhere(entry: CatalogEntry, wanted: dict[str, Layout], root: Path, options: OpenOptions) -> tuple[str, str] | None:
    """Words about another form that is there, or a folder near by that holds one, and how to name it."""
    other = [name for name, layout in entry.layouts.items() if name not in wanted and not layout.lacking(root, options)]
    if other:
        return f"it is there in the form {other[0]!r}", f"set data.layout={other[0]} or auto"
    near = [(place, layout) for place in _folders_below(root) for layout in wanted.values()]
    near += [(root.absolute().parent, layout) for layout in wanted.values() if _is_part(root.absolute().name, layout, options)]
    place = next((place for place, layout in near if not layout.lacking(place, options)), None)
    return None if place is None else (f"it seems to be in {place}", f"set data.root={place}")


def _is_part(name: str, layout: Layout, options: OpenOptions) -> bool:
    """Whether a folder of this name is one of those that a form consists of."""
    parts = [part for lack in layout.lacking(Path("nothing here"), options) for part in lack.name.split("|")]
    usual = itertools.chain(*USUAL_NAMES.values())
    return name in [part.partition("/")[0] for part in parts] or name.lower() in usual


def _content(root: Path) -> str:
    """Words about what a root holds."""
    entries = sorted((entry for entry in entries_of(root) if not is_set_aside(entry.name)), key=lambda entry: entry.name)
    names = [
        f"{entry.name} ({stand_in_at(Path(entry.path))})" if entry.is_symlink() and not Path(entry.path).exists() else entry.name
        for entry in entries
    ]
    return f"{root} holds {listing(names) or 'nothing'}"


def _folders_below(root: Path) -> Iterator[Path]:
    """Folders below a root, the nearest first, up to a number."""
    waiting = deque([(root, 0)])
    seen = 0
    while waiting and seen < SEARCHED_FOLDERS:
        folder, depth = waiting.popleft()
        for entry in sorted(entries_of(folder), key=lambda entry: entry.name):
            if seen < SEARCHED_FOLDERS and entry.is_dir(follow_symlinks=False) and not is_set_aside(entry.name):
                seen += 1
                yield Path(entry.path)
                if depth + 1 < SEARCHED_DEPTH:
                    waiting.append((Path(entry.path), depth + 1))
