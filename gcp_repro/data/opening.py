"""From a data set's name and a folder to its checked splits."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from gcp_repro.data.catalog import CATALOG
from gcp_repro.data.finding import find_layout, with_usual_splits
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
from gcp_repro.data.layouts.split_names import packed_archives
from gcp_repro.data.open_options import OpenOptions, refuse_unread
from gcp_repro.data.storage import FolderStorage, entries_of
from gcp_repro.data.subset import class_names, select_subset
from gcp_repro.errors import DataError, UnknownNameError
from gcp_repro.stand_ins import stand_in_at

__all__ = ["open_image_set"]

log = logging.getLogger(__name__)


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
    found_layout, place = find_layout(entry, root, layout, options)
    refuse_unread(options, found_layout.columns, place)
    image_set = found_layout.parse(place, with_usual_splits(entry, place, options))
    title = f"{entry.title} in {place}"
    check_labels(title, image_set)
    if isinstance(image_set.storage, FolderStorage):
        if entry.expected is None:
            _check_links(title, image_set, image_set.storage)
        image_set.storage.links.clear()  # each worker would get a copy
    advice = "mend the list, or put the images where its paths lead" if entry.expected is None else entry.advice
    image_set = _without_missing_files(title, image_set, advice, allow_partial=options.allow_partial)
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
    found = stand_in_at(path) or ("" if path.name in alike else f"there is {alike[0]}" if alike else "")
    return f"{name} ({found})" if found else name


def _without_missing_files(title: str, image_set: ImageSet, advice: str, *, allow_partial: bool) -> ImageSet:
    """Check that the files of the lists exist; archives and scanned folders hold what they list."""
    if not isinstance(image_set.storage, FolderStorage):
        return image_set
    names = [name for name, _ in image_set.train + image_set.val]
    missing = image_set.storage.missing(names)
    if not missing:
        return image_set
    packed = packed_archives(image_set.storage.root) if len(missing) == len(names) else []
    if packed:
        advice = f"unpack {listing(packed)}, or {advice}"
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
