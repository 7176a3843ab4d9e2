"""A folder for each class: anyone's own images, and the heart of ImageNet's layout."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from gcp_repro.data.image_set import listing, loosely, one_form
from gcp_repro.data.layouts.lists import Listed
from gcp_repro.data.storage import Storage
from gcp_repro.errors import DataError

__all__ = ["check_folders", "class_rows", "unnested"]


def class_rows(storage: Storage, folder: str, classes: Iterable[str]) -> list[Listed]:
    """All images of the class folders in a folder, class by class, sorted by name.

    Raises:
        DataError: A class folder has no images.
    """
    rows = []
    for name in classes:
        place = f"{folder}/{name}"
        found = storage.names(place)
        if not found:
            others = [other for other in getattr(storage, "left_out", []) if other.startswith(f"{place}/")]
            words = f" but {listing(others)}, not named as images: name them so, as in x.jpg" if others else ": fill the folder"
            raise DataError(f"each class folder needs images; {storage.locate(place)} has none{words}, or remove it")
        rows += [Listed(image, one_form(name)) for image in found]
    return rows


def check_folders(storage: Storage, folder: str, classes: Collection[str], hint: str = "") -> set[str]:
    """The class folders in a folder.

    Args:
        storage: Holds the folder.
        folder: Its name there.
        classes: What folders there may be.
        hint: More words for the error.

    Raises:
        DataError: One of them is no class.
    """
    present = set(map(one_form, storage.folders(folder)))
    alike = {loosely(name): name for name in classes}
    too_many = [
        f"{name!r}, which is {alike[loosely(name)]!r} in training" if loosely(name) in alike else name
        for name in sorted(present - set(map(one_form, classes)))
    ]
    if too_many:
        has, remedy = "also has", "remove or rename them, or add them to the training images"
        if len(too_many) == len(present) and alike.keys().isdisjoint(map(loosely, present)):
            has, remedy = "has none of them but", "sort its images into these, or name a list of their labels by data.val_split"
        raise DataError(
            f"{storage.locate(folder)} needs folders of the {len(classes)} classes alone; it {has} {listing(too_many)}: "
            f"{remedy}{hint}"
        )
    return present


def unnested(root: Path, *names: str) -> str:
    """The first of some folders that is there; an archive unpacked into a folder of its own name is entered.

    Returns:
        `cars_train/cars_train` for `cars_train` where that is a folder, and the first name where none is there.
    """
    name = next((name for name in names if (root / name).is_dir()), names[0])
    inner = f"{name}/{name.rpartition('/')[2]}"
    return inner if (root / inner).is_dir() else name
