"""Data sets whose splits are folders of class folders, or lists of images: anyone's own, and many repackaged ones."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from gcp_repro.data.image_set import SPLITS, ImageSet, Split, listing
from gcp_repro.data.layouts.folders import check_folders, class_rows
from gcp_repro.data.layouts.lacking import Lack
from gcp_repro.data.layouts.lists import Listed, read_list
from gcp_repro.data.layouts.numbering import number_classes, number_labels
from gcp_repro.data.layouts.split_names import LIST_SUFFIXES, TABLES_AND_SHARDS, USUAL_NAMES, find_paths, packed_archives
from gcp_repro.data.open_options import OpenOptions, refuse_unread
from gcp_repro.data.storage import FolderStorage, entries_of, is_image_name, is_set_aside
from gcp_repro.errors import DataError

__all__ = ["check_trained", "lacking_folders", "lacking_lists", "parse_splits"]

log = logging.getLogger(__name__)

FlatRows = Callable[[FolderStorage, str, Sequence[str]], list[Listed]]
"""Labels of a folder that holds images alone, from a file elsewhere: (storage, folder, classes) to rows."""


def lacking_folders(root: Path, options: OpenOptions) -> list[Lack]:
    """What a root lacks to be a data set of class folders; of one without evaluation images more is said when it is read."""
    absent = _absent(root, options)
    paths = find_paths(root, "train", options) if not absent else []
    if not paths or not (root / paths[0]).is_dir():
        return absent or [Lack("train/<class>/")]
    path = paths[0]
    listed = find_paths(root, "train", options, lists_first=True)[0]
    if not FolderStorage(root).folders(path) or Path(listed).parent == Path(path):
        packed = packed_archives(root / path)
        if packed:
            found = f"{root / path} holds {len(packed):,} archives that are still packed, {listing(packed)}"
            return [Lack(f"{path}/<class>/", found, "unpack each into a folder of its name")]
        if any(is_image_name(entry.name) for entry in entries_of(root / path)):
            remedy = f"sort them into folders, or name a list of their labels by data.train_split{_hint(root, path, 'train')}"
            return [Lack(f"{path}/<class>/", f"the images in {root / path} lie in no folder of a class", remedy)]
        return [Lack(f"{path}/<class>/")]
    return []


def lacking_lists(root: Path, options: OpenOptions) -> list[Lack]:
    """What a root lacks to be a data set of lists."""
    absent = _absent(root, options)
    paths = find_paths(root, "train", options, lists_first=True) if not absent else []
    if paths and not (root / paths[0]).is_dir() and not paths[0].endswith(TABLES_AND_SHARDS):
        return []
    return absent or [Lack("train.txt (or .csv) with a path and a label in each row")]


def _absent(root: Path, options: OpenOptions) -> list[Lack]:
    """Names of splits that the user gave and that are not there."""
    return [Lack(name) for name in (*options.train_split, *options.val_split) if not (root / name).exists()]


def parse_splits(
    root: Path,
    options: OpenOptions,
    *,
    lists_first: bool = False,
    flat_rows: FlatRows | None = None,
    known: Collection[str] = (),
    published: int | None = None,
) -> ImageSet:
    """A data set whose splits are each a folder `<class>/<image>`, or a list of images.

    Classes are those of the training images. Folders are numbered in the order of their names, as torchvision's `ImageFolder`
    does; labels on lists see `number_classes`. A list of numbers beside class folders counts these.

    Args:
        root: Holds the folders or lists.
        options: What the splits are called; with `allow_partial` classes may lack evaluation images.
        lists_first: Take `train.txt` where there is a folder `train` as well.
        flat_rows: Labels of an evaluation folder without class folders.
        known: Names of all classes that the published set has.
        published: How many classes it has.

    Raises:
        DataError: A folder is missing, a class has no images in one of the splits, evaluation has a class that training
            lacks, or a list is damaged.
    """
    storage = FolderStorage(root)
    train_paths, val_paths = (find_paths(root, split, options, lists_first=lists_first) for split in SPLITS)
    if not val_paths:
        packed = packed_archives(root)
        found, remedy = (f", but {listing(packed)}", f"unpack {listing(packed)}, ") if packed else ("", "")
        raise DataError(
            f"evaluation needs images of its own; {root} has {listing(train_paths)} and none of {', '.join(USUAL_NAMES['val'])}, "
            f"as a folder or a list{found}: {remedy}put images there that training does not use, or say where they are by "
            "data.val_split"
        )
    _check_apart(root, train_paths, val_paths)
    sources = [listing([root / path for path in paths]) for paths in (train_paths, val_paths)]
    if all((root / path).is_dir() for path in (*train_paths, *val_paths)):
        refuse_unread(options, (), " with ".join(sources))
    train = [row for path in train_paths for row in _rows(storage, path, "train", options)]
    folders = (root / train_paths[0]).is_dir()
    if folders:
        classes, first = tuple(sorted({row.label for row in train})), 0  # as text, whatever the folders are called
    else:
        classes, first = number_classes([row.label for row in train], [], sources[0], published=published)
    flat = flat_rows is not None and (root / val_paths[0]).is_dir() and not storage.folders(val_paths[0])
    val = [row for path in val_paths for row in _val_rows(storage, path, classes, options, flat_rows)]
    numbers = number_labels([row.label for row in val], classes, first, sources[1], ordered=folders)
    if not flat:
        evaluated = {classes[number] for number in numbers}
        check_trained(sources[0], classes, evaluated, sources[1], known)
    labels = number_labels([row.label for row in train], classes, first, sources[0], ordered=folders), numbers
    samples, val_samples = (
        [(row.name, label) for row, label in zip(rows, column, strict=True)]
        for rows, column in zip((train, val), labels, strict=True)
    )
    return ImageSet(samples, val_samples, classes, storage, first_label=first)


def _check_apart(root: Path, train_paths: Sequence[str], val_paths: Sequence[str]) -> None:
    """Refuse a folder that is in both splits by way of links; images that are, by their names, are found later."""
    train, val = (
        {place.resolve(): place for path in paths for place in (root / path, *_folders_in(root / path))}
        for paths in (train_paths, val_paths)
    )
    both = [place for place in sorted(val) if place.is_dir() and place in train and val[place] != train[place]]
    if both:
        raise DataError(
            f"training and evaluation need images of their own; {val[both[0]]} is the folder {train[both[0]]}: errors on images "
            "that were trained on would mean nothing; replace the link by other images"
        )


def _folders_in(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in entries_of(folder) if entry.is_dir() and not is_set_aside(entry.name)]


def check_trained(place: str, classes: Sequence[str], evaluated: Collection[str], source: str, known: Collection[str]) -> None:
    """Refuse training classes that are none of the data set.

    Args:
        place: Where the training images are.
        classes: Their classes.
        evaluated: Classes that evaluation has.
        source: What says so.
        known: Names of the published classes; empty where anything may be a class.

    Raises:
        DataError: A class too many.
    """
    strange = sorted({*classes} - {*evaluated} - {*known}) if known else []
    if strange:
        raise DataError(
            f"{place} needs folders of classes alone; it also has {listing(strange)}, which neither {source} nor the published "
            "set has: remove or rename them"
        )


def _rows(storage: FolderStorage, path: str, split: Split, options: OpenOptions) -> list[Listed]:
    if not (storage.root / path).is_dir():
        return read_list(storage.root, path, split, options)
    return _folder_rows(storage, path)


def _folder_rows(storage: FolderStorage, path: str) -> list[Listed]:
    """The images of all class folders; what lies beside these is said to be left out."""
    packed = packed_archives(storage.root / path)
    if packed:
        log.warning(
            "%s has archives beside its class folders that were left out: %s; if one holds a class, unpack it into a folder of "
            "its name",
            storage.root / path,
            listing(packed),
        )
    storage.look_beside_classes(path)
    return class_rows(storage, path, storage.folders(path))


def _val_rows(
    storage: FolderStorage, path: str, classes: Sequence[str], options: OpenOptions, flat_rows: FlatRows | None
) -> list[Listed]:
    if not (storage.root / path).is_dir():
        return read_list(storage.root, path, "val", options)
    if storage.folders(path):
        check_folders(storage, path, classes, _hint(storage.root, path))
        return _folder_rows(storage, path)
    if flat_rows is not None:
        return flat_rows(storage, path, classes)
    raise DataError(
        f"{storage.root / path} needs a folder a class; it has {len(storage.names(path)):,} images without: sort them into "
        f"folders, or name a list of their labels by data.val_split{_hint(storage.root, path)}"
    )


def _hint(root: Path, path: str, split: Split = "val") -> str:
    """Words about lists in a folder that holds no class folders."""
    lists = sorted(entry.name for entry in entries_of(root / path) if entry.name.lower().endswith(LIST_SUFFIXES))
    return f"; if {listing(lists)} has their labels, set data.{split}_split={path}/{lists[0]}" if lists else ""
