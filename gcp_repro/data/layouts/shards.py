"""WebDataset shards on a local disk: tar files in which an image and its label have the same name up to the suffix."""

from __future__ import annotations

import functools
import itertools
import json
import tarfile
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from gcp_repro.data.image_set import SPLITS, ImageSet, Split, listing
from gcp_repro.data.layouts.files import read_lines
from gcp_repro.data.layouts.lacking import Lack
from gcp_repro.data.layouts.numbering import number_classes, number_labels
from gcp_repro.data.layouts.split_names import check_copies, files_of_splits, find_files
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import is_image_name, is_set_aside
from gcp_repro.data.tar_storage import TarMember, TarStorage, index_tar, read_at
from gcp_repro.errors import DataError

__all__ = ["lacking_shards", "parse_shards", "read_shards"]

CLASS_NAMES = "classnames.txt"
LOOKED_AT = 20_000  # files of an archive, more than a shard has images


LABEL_FILES = (".cls", ".json")
"""What holds a sample's label, the likeliest first."""


def lacking_shards(root: Path, options: OpenOptions) -> list[Lack]:
    """What a root lacks to be a data set of shards, labels included: each class's images in a tar of their own are no shards."""
    files = {split: find_files(root, split, ".tar", options) for split in SPLITS}
    absent = [Lack(f"*{split}-*.tar") for split in SPLITS if not files[split]]
    without = [path for paths in files.values() for path in paths[:1] if _images_alone(path)]
    remedy = "unpack it, or write shards with labels"
    return absent + [Lack("labels in *.tar", f"{path} has images without .cls or .json", remedy) for path in without[:1]]


def _images_alone(path: Path) -> bool:
    """Whether an archive has images and no label; whatever is wrong with it otherwise is said when it is read."""
    try:
        status = path.stat()
    except OSError:
        return False
    return _images_alone_as_of(path, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=64)  # the forms of a root are asked for several times
def _images_alone_as_of(path: Path, size: int, time: int) -> bool:
    found = False
    try:
        with tarfile.open(path, "r:") as archive:
            for member in itertools.islice(archive, LOOKED_AT):  # labels may follow all images
                if member.name.lower().endswith(LABEL_FILES):
                    return False
                found = found or is_image_name(member.name)
    except (tarfile.TarError, OSError):
        return False
    return found


def parse_shards(root: Path, options: OpenOptions, *, published: int | None = None) -> ImageSet:
    """A data set of shards such as `imagenet1k-train-0000.tar` or `train/0.tar`, and `classnames.txt` where there is one.

    A sample is an image and a file of the same key with its label: a number or name in `.cls`, or `label` in `.json`. If
    `options.label_column` names a key, labels are what `.json` has there, and nothing else. Local shards are read in place by
    index, so order, sharding and resuming are those of every other layout.

    Args:
        root: Holds the shards.
        options: Names of the splits, and of the key of labels in `.json`.
        published: How many classes the set is known to have.

    Raises:
        DataError: A split is missing, a shard is damaged or missing by the number in `nshards.txt`, or an image has no label.
    """
    files = files_of_splits(root, ".tar", options)
    image_set = read_shards(root, files, options, published)
    check_copies([*files["train"], *files["val"]])
    return image_set


def read_shards(root: Path, files: dict[Split, list[Path]], options: OpenOptions, published: int | None) -> ImageSet:
    """The same of shards that are named; a split without shards stays empty.

    Args:
        root: What their names in messages start from; may hold the names of the classes.
        files: Shards of each split.
        options: Where the shards' indices are kept.
        published: How many classes the set is known to have.
    """
    shards: dict[str, Path] = {}
    rows: dict[Split, list[tuple[str, Any]]] = {split: [] for split in SPLITS}
    for split, paths in files.items():
        for path in paths:
            place = path.relative_to(root) if path.is_relative_to(root) else path
            prefix = f"{split}/{place.with_suffix('')}"
            shards[prefix] = path
            images = _labelled(path, index_tar(path, options.index_dir), options.label_column)
            rows[split] += [(f"{prefix}/{member.name}", label) for member, label in images]
    labels = {split: [label for _, label in pairs] for split, pairs in rows.items()}
    names = tuple(read_lines(root / CLASS_NAMES)) if (root / CLASS_NAMES).is_file() else ()
    source = listing([path for paths in files.values() for path in paths], 2)
    classes, first = number_classes(labels["train"], labels["val"], source, names, published=published)
    numbered = partial(number_labels, classes=classes, first=first, source=source, ordered=bool(names))
    train, val = (
        [(name, number) for (name, _), number in zip(rows[split], numbered(labels[split]), strict=True)] for split in SPLITS
    )
    return ImageSet(train, val, classes, TarStorage(shards, options.index_dir), first_label=first)


def _labelled(path: Path, members: list[TarMember], label_key: str | None) -> list[tuple[TarMember, Any]]:
    """A shard's images with their labels; `.json` is read where there is no `.cls`, and alone where its key is named.

    Raises:
        DataError: An image has no label, or a label has no image or several.
    """
    labels: dict[str, Any] = {}
    members = [member for member in members if not is_set_aside(member.name.rpartition("/")[2])]
    keys: dict[str, None] = {}
    with path.open("rb") as file:
        for suffix in LABEL_FILES if label_key is None else (".json",):
            for member in members:
                if member.name.lower().endswith(suffix) and _key(member.name) not in labels:
                    content = _label_file(path, member.name, read_at(file, member.size, member.offset))
                    value = content.get(label_key or "label") if isinstance(content, dict) else content
                    keys.update(dict.fromkeys(content if isinstance(content, dict) else ()))
                    if value is not None and value != "":
                        labels[_key(member.name)] = value
    images = [member for member in members if is_image_name(member.name)]
    without = [member.name for member in images if _key(member.name) not in labels]
    if without:
        needed = "a label in a .cls or .json file" if label_key is None else f"the label {label_key!r} in a .json file"
        named = f", its .json has {listing(list(keys))}: name the label's key by data.label_column, or" if keys else ":"
        raise DataError(f"{path} needs {needed} for each image; {listing(without)} has none{named} write the shards with labels")
    counts = Counter(_key(member.name) for member in images)
    if len(labels) != len(counts) or counts.total() != len(counts):
        odd = [f"{key} has {counts[key]}" for key in sorted(labels) if counts[key] != 1]
        raise DataError(
            f"{path} needs one image for each label; {listing(odd)}: take out masks and files that are no labels, or write the "
            "shard again"
        )
    return [(member, labels[_key(member.name)]) for member in images]


def _label_file(path: Path, name: str, data: bytes) -> Any:
    """The text of a `.cls` file, or the object of a `.json` file; None for JSON of another kind."""
    if name.lower().endswith(".cls"):
        return data.decode(errors="replace").strip()
    try:
        content = json.loads(data)
    except ValueError as error:
        raise DataError(f"{path} needs JSON in {name}; it is none ({error}): write the shard again") from error
    return content if isinstance(content, dict) else None


def _key(name: str) -> str:
    """What the files of a sample have in common: the name up to the first dot after the folders."""
    folder, slash, file = name.rpartition("/")
    return f"{folder}{slash}{file.partition('.')[0]}"
