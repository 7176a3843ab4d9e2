"""Caltech-UCSD Birds-200-2011: three text files with a row for each image."""

from __future__ import annotations

from pathlib import Path

from gcp_repro.data.image_set import ImageSet, Samples, listing
from gcp_repro.data.layouts.files import read_columns, whole_number
from gcp_repro.data.layouts.folders import check_folders
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import FolderStorage
from gcp_repro.errors import DataError

__all__ = ["parse_cub"]


def parse_cub(root: Path, options: OpenOptions) -> ImageSet:
    """Birds from `images.txt`, `image_class_labels.txt`, `train_test_split.txt` and, where present, `classes.txt`.

    Each row of them starts with the image's number; a 1 in the split marks training images.

    Raises:
        DataError: A file is missing or damaged, the three do not speak of the same images, or `images/` has a folder that is no
            class.

    Source:
        Wah, Branson, Welinder, Perona, Belongie, Caltech-UCSD Birds-200-2011, CNS-TR-2011-001.
    """
    paths, labels, is_training = (
        _by_number(root / name) for name in ("images.txt", "image_class_labels.txt", "train_test_split.txt")
    )
    for name, table in (("image_class_labels.txt", labels), ("train_test_split.txt", is_training)):
        odd = sorted(paths.keys() ^ table.keys())
        if odd:
            raise DataError(
                f"images.txt and {name} in {root} need the same image numbers; only one of them has {listing(odd)}: "
                "fetch the archive again"
            )
    splits: dict[str, Samples] = {"0": [], "1": []}
    for number, path in paths.items():
        if is_training[number] not in splits:
            raise DataError(
                f"{root / 'train_test_split.txt'} needs 0 or 1; image {number} has {is_training[number]!r}: repair it"
            )
        label = whole_number(labels[number], root / "image_class_labels.txt") - 1
        splits[is_training[number]].append((f"images/{path}", label))
    classes = _class_names(root, labels)
    storage = FolderStorage(root)
    check_folders(storage, "images", {*classes, *(path.rpartition("/")[0] for path in paths.values())})
    return ImageSet(splits["1"], splits["0"], classes, storage, first_label=1)


def _by_number(path: Path) -> dict[str, str]:
    rows = read_columns(path, 2)
    table = dict(rows)
    if len(table) < len(rows):
        numbers = [number for number, _ in rows]
        twice = sorted({number for number in numbers if numbers.count(number) > 1})
        raise DataError(f"{path} needs one row an image; these numbers come twice: {listing(twice)}: fetch it again")
    return table


def _class_names(root: Path, labels: dict[str, str]) -> tuple[str, ...]:
    if (root / "classes.txt").exists():
        names = _by_number(root / "classes.txt")
        return tuple(names[number] for number in sorted(names, key=lambda number: whole_number(number, root / "classes.txt")))
    highest = max((whole_number(label, root / "image_class_labels.txt") for label in labels.values()), default=0)
    return tuple(f"{number:03d}" for number in range(1, highest + 1))
