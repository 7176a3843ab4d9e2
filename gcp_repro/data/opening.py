"""From a data set's name and a folder to its checked splits: which form is there, where, and whether it is whole."""

from __future__ import annotations

import itertools
import logging
from collections import deque
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gcp_repro.data.catalog import CATALOG, CatalogEntry, Layout
from gcp_repro.data.image_set import (
    SPLITS,
    ImageSet,
    check_classes,
    check_counts,
    check_labels,
    listing,
    loosely,
    report_partial,
)
from gcp_repro.data.layouts.split_names import TABLES_AND_SHARDS, find_files, packed_archives
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import FolderStorage, entries_of, is_set_aside
from gcp_repro.data.subset import class_names, select_subset
from gcp_repro.errors import DataError, MissingPathError, UnknownNameError
from gcp_repro.stand_ins import stand_in_at

__all__ = ["open_image_set"]

log = logging.getLogger(__name__)

SEARCHED_FOLDERS = 300  # for a form that lies deeper than expected
SEARCHED_DEPTH = 3


def open_image_set(
    dataset: str,
    root: Path,
    layout: str = "auto",
    options: OpenOptions | None = None,
    *,
    classes: object = None,
) -> ImageSet:
    """The checked splits of a data set of the catalogue.

    Args:
        dataset: A name in `CATALOG`.
        root: Holds the data set, or one of its usual folders.
        layout: One of the entry's layouts, or "auto".
        options: See `OpenOptions`.
        classes: As `select_subset` takes them. Where names are given the other classes may be missing, and the numbers of
            images are not compared.

    Raises:
        UnknownNameError: No such data set or layout.
        DataError: Files are missing, damaged, contradictory, or fewer or more than published.
    """
    options = options or OpenOptions()
    if dataset not in CATALOG:
        raise UnknownNameError("data set", dataset, CATALOG)
    entry = CATALOG[dataset]
    found_layout, place = _find_layout(entry, root, layout, options)
    image_set = found_layout.parse(place, _with_usual_splits(entry, place, options))
    title = f"{entry.title} in {place}"
    check_labels(title, image_set)
    if isinstance(image_set.storage, FolderStorage):
        if entry.expected is None:
            _check_links(title, image_set, image_set.storage)
        image_set.storage.links.clear()  # each worker would get a copy
    image_set = _without_missing_files(title, image_set, entry.advice, allow_partial=options.allow_partial)
    _report_left_out(title, image_set)
    if entry.numbered is not None and len(image_set.classes) == len(names := entry.numbered()):
        image_set = replace(image_set, classes=tuple(names))
    named = class_names(classes)  # type: ignore[arg-type]
    part = named is not None and entry.expected is not None and len(image_set.classes) < entry.expected.classes
    if entry.expected is not None and not part:
        differs = entry.explain(image_set.classes) if entry.explain is not None else ""
        check_counts(
            title,
            image_set,
            entry.expected,
            f"{differs}; {entry.advice}" if differs else entry.advice,
            allow_partial=options.allow_partial,
        )
    kept = image_set if named is None else select_subset(image_set, classes=named)
    check_classes(title, kept, allow_partial=options.allow_partial)
    return image_set


def _with_usual_splits(entry: CatalogEntry, place: Path, options: OpenOptions) -> OpenOptions:
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


def _find_layout(entry: CatalogEntry, root: Path, name: str, options: OpenOptions) -> tuple[Layout, Path]:
    """The layout asked for or found, and the folder it was found in."""
    if name != "auto" and name not in entry.layouts:
        raise UnknownNameError(f"layout of {entry.title}", name, ["auto", *entry.layouts])
    if not root.is_dir():
        found = "a file" if root.is_file() else stand_in_at(root) or "none"
        raise MissingPathError(f"{entry.title} needs a folder; there is {found} at {root}: {_how_to_name_it(entry)}")
    entries_of(root)  # a folder without rights says so
    wanted = entry.layouts if name == "auto" else {name: entry.layouts[name]}
    places = [root, *(root / folder for folder in entry.subfolders if (root / folder).is_dir())]
    for place in places:
        for layout in wanted.values():
            if not layout.lacking(place, options):
                return layout, place
    likeliest = next(iter(wanted.values()))
    given = (*options.train_split, *options.val_split)
    absent = [name for name in given if not any((place / name).exists() or _in_files(place, name) for place in places)]
    raise (MissingPathError if absent else DataError)(
        f"{entry.title} needs {' and '.join(map(repr, likeliest.lacking(root, options)))}; looked in "
        f"{', '.join(map(str, places))}"
        f"{_what_is_there(entry, wanted, places, options)}: {_how_to_name_it(entry)}"
    )


def _how_to_name_it(entry: CatalogEntry) -> str:
    return f"{entry.advice}, then name the folder by data.root, paths.data_dir or the environment variable GCP_DATA_DIR"


def _what_is_there(entry: CatalogEntry, wanted: dict[str, Layout], places: list[Path], options: OpenOptions) -> str:
    """Words about a form that lies elsewhere or is there in part."""
    words = ""
    for place in places:
        for name, layout in wanted.items():
            lacking = layout.lacking(place, options)
            if len(lacking) < len(layout.lacking(place / "nothing here", options)):
                words += f"; {place} is in the form {name!r} but for {' and '.join(map(repr, lacking))}"
    other = [name for name, layout in entry.layouts.items() if name not in wanted and not layout.lacking(places[0], options)]
    if other:
        words += f"; it is there in the form {other[0]!r}: set data.layout={other[0]} or auto"
    near = itertools.chain(_folders_below(places[0]), [places[0].absolute().parent])
    found = next((place for place in near if any(not layout.lacking(place, options) for layout in wanted.values())), None)
    if found is not None:
        return f"{words}; it seems to be in {found}: set data.root={found}"
    return words or _what_else(places[0])


def _what_else(root: Path) -> str:
    """Words about what a root holds that is in none of the forms."""
    packed = packed_archives(root)
    if packed:
        return f"; {root} holds archives that are still packed or compressed, {listing(packed)}: unpack them"
    names = sorted(entry.name for entry in entries_of(root) if not is_set_aside(entry.name))
    return f"; {root} holds {listing(names) or 'nothing'}"


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


def _check_links(title: str, image_set: ImageSet, storage: FolderStorage) -> None:
    """Refuse images that are in both splits by way of links, as in folders of links that divide one set in several ways."""
    if not storage.links:
        return
    train, val = ({storage.file_of(name): name for name, _ in image_set.split(split)} for split in SPLITS)
    both = [f"{val[file]} is {train[file]}" for file in val if file in train]
    if both:
        raise DataError(
            f"{title} needs training and test images of their own; {len(both)} are the same file: {listing(both)}: errors on "
            "images that were trained on would mean nothing; divide the images anew"
        )


def _report_left_out(title: str, image_set: ImageSet) -> None:
    """Say which files were not taken for images: a suffix that is not known must not shrink a data set in silence."""
    left_out = getattr(image_set.storage, "left_out", [])
    if left_out:
        words = "%s has %s files that were left out, not named as images or in no class folder: %s"
        log.warning(words, title, len(left_out), listing(left_out))


def _with_what_is_there(storage: FolderStorage, name: str) -> str:
    path = storage.root / name
    alike = [entry.name for entry in entries_of(path.parent) if loosely(Path(entry.name).stem) == loosely(path.stem)]
    found = stand_in_at(path) or (f"there is {alike[0]}" if alike else "")
    return f"{name} ({found})" if found else name


def _without_missing_files(title: str, image_set: ImageSet, advice: str, *, allow_partial: bool) -> ImageSet:
    """Check that the files of the lists exist; archives and scanned folders hold what they list."""
    if not isinstance(image_set.storage, FolderStorage):
        return image_set
    names = [name for name, _ in image_set.train + image_set.val]
    missing = image_set.storage.missing(names)
    if not missing:
        return image_set
    shown = listing([_with_what_is_there(image_set.storage, name) for name in missing[:5]] + missing[5:])
    report_partial(
        f"{title} lacks {len(missing):,} of its {len(names):,} images: {shown}",
        advice,
        allow_partial=allow_partial,
    )
    absent = set(missing)
    train, val = ([row for row in samples if row[0] not in absent] for samples in (image_set.train, image_set.val))
    if not (train and val):
        raise DataError(
            f"{title} needs images in both splits; of those on its lists {len(train):,} are there for training and {len(val):,} "
            f"for evaluation, the first that is not: {missing[0]}: {advice}"
        )
    return replace(image_set, train=train, val=val)
