"""Stanford Dogs: MATLAB lists over `Images/<synset>-<breed>/`."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

import numpy as np

from gcp_repro.data.image_set import ImageSet, Samples, listing
from gcp_repro.data.layouts.files import mat_strings, read_mat, whole_number
from gcp_repro.data.layouts.folders import check_folders, unnested
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import FolderStorage
from gcp_repro.errors import DataError

__all__ = ["parse_dogs"]

BREEDS = 120


def parse_dogs(root: Path, options: OpenOptions) -> ImageSet:
    """Dogs from `train_list.mat` and `test_list.mat`, in `lists/` or beside `Images/`, which Kaggle's archive holds in `images/`.

    A class is the folder that its images lie in.

    Raises:
        DataError: A list is missing or damaged, has a label out of range, or gives one class two folders or one folder two
            classes; or `Images/` has a folder that is on neither list.

    Source:
        Khosla, Jayadevaprakash, Yao, Fei-Fei, Novel dataset for fine-grained image categorization, FGVC 2011.
    """
    folder = root / "lists" if (root / "lists").is_dir() else root
    images = unnested(root, "Images", "images/Images")
    train, val = (_read_list(folder / f"{split}_list.mat", images) for split in ("train", "test"))
    names: dict[int, str] = {}
    labels: dict[str, int] = {}
    for name, label in train + val:
        breed = name.split("/")[-2]
        if names.setdefault(label, breed) != breed:
            _refuse(folder, f"class {label + 1}", f"{names[label]} and {breed}")
        if labels.setdefault(breed, label) != label:
            _refuse(folder, f"folder {breed}", f"classes {labels[breed] + 1} and {label + 1}")
    classes = tuple(names.get(label, f"class {label + 1}") for label in range(max(names, default=-1) + 1))
    storage = FolderStorage(root)
    check_folders(storage, images, labels)
    return ImageSet(train, val, classes, storage, first_label=1)


def _refuse(folder: Path, one: str, several: str) -> NoReturn:
    raise DataError(
        f"Stanford Dogs needs one folder a class; {one} of the lists in {folder} has {several}: fetch lists.tar again"
    )


def _read_list(path: Path, images: str) -> Samples:
    files, labels = read_mat(path, "file_list", "labels")
    names = mat_strings(files)
    numbers = [whole_number(label, path) for label in np.ravel(labels).tolist()]
    if len(names) != len(numbers) or not all("/" in name for name in names):
        raise DataError(
            f"{path} needs a label for each folder/file; it has {len(names)} files and {len(numbers)} labels, the first "
            f"{names[0] if names else 'none'!r}: fetch lists.tar again"
        )
    wrong = [f"{name} (class {number})" for name, number in zip(names, numbers, strict=True) if not 1 <= number <= BREEDS]
    if wrong:
        raise DataError(f"{path} needs labels from 1 to {BREEDS}; out of range: {listing(wrong)}: fetch lists.tar again")
    return [(f"{images}/{name}", number - 1) for name, number in zip(names, numbers, strict=True)]
