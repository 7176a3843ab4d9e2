"""A folder for each class: anyone's own images, and the heart of ImageNet's layout."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from gcp_repro.data.image_set import ImageSet, Samples, listing
from gcp_repro.data.storage import FolderStorage, Storage
from gcp_repro.errors import DataError

__all__ = ["EVALUATION_FOLDERS", "check_folders", "class_samples", "parse_folders"]

EVALUATION_FOLDERS = ("val", "valid", "validation", "test")


def parse_folders(root: Path) -> ImageSet:
    """Images from `train/<class>/` and `val/<class>/` (or `valid`, `validation`, `test`).

    Classes are numbered in the order of their names, as torchvision's `ImageFolder` does.

    Raises:
        DataError: A folder is missing, a class has no images in one of the splits, or evaluation has a class that
            training lacks.
    """
    storage = FolderStorage(root)
    evaluation = next((name for name in EVALUATION_FOLDERS if (root / name).is_dir()), None)
    if evaluation is None:
        raise DataError(
            f"a data set of class folders needs a folder for evaluation; {root} has none of {', '.join(EVALUATION_FOLDERS)}: "
            "put a part of the images there that training does not use"
        )
    classes = tuple(storage.folders("train"))
    train = class_samples(storage, "train", classes)
    val = class_samples(storage, evaluation, classes)
    absent = sorted(set(classes) - set(storage.folders(evaluation)))
    if absent:
        raise DataError(
            f"{root / evaluation} needs the classes of {root / 'train'}; it lacks {listing(absent)}: add images for them"
        )
    return ImageSet(train, val, classes, storage)


def class_samples(storage: Storage, folder: str, classes: tuple[str, ...]) -> Samples:
    """All images of the class folders in a folder, class by class, sorted by name.

    Raises:
        DataError: A folder that is no class, or a class folder without images.
    """
    present = check_folders(storage, folder, classes)
    samples: Samples = []
    for label, name in enumerate(classes):
        found = storage.names(f"{folder}/{name}") if name in present else []
        if name in present and not found:
            raise DataError(
                f"each class folder needs images; {storage.locate(f'{folder}/{name}')} has none: fill the folder or remove it"
            )
        samples += [(image, label) for image in found]
    return samples


def check_folders(storage: Storage, folder: str, classes: Collection[str]) -> set[str]:
    """The class folders in a folder.

    Raises:
        DataError: One of them is no class.
    """
    present = set(storage.folders(folder))
    too_many = sorted(present - set(classes))
    if too_many:
        raise DataError(
            f"{storage.locate(folder)} needs folders of the {len(classes)} classes alone; it also has {listing(too_many)}: "
            "remove or rename them, or add them to the training images"
        )
    return present
