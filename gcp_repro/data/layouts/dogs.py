"""Stanford Dogs: MATLAB lists over `Images/<synset>-<breed>/`."""

from __future__ import annotations

from pathlib import Path

from gcp_repro.data.image_set import ImageSet, Samples
from gcp_repro.data.layouts.files import mat_strings, read_mat
from gcp_repro.data.storage import FolderStorage
from gcp_repro.errors import DataError

__all__ = ["parse_dogs"]


def parse_dogs(root: Path) -> ImageSet:
    """Dogs from `train_list.mat` and `test_list.mat`, in `lists/` or beside `Images/`.

    A class is the folder that its images lie in.

    Raises:
        DataError: A list is missing or damaged, or gives one class two folders or two numbers.

    Source:
        Khosla, Jayadevaprakash, Yao, Fei-Fei, Novel dataset for fine-grained image categorization, FGVC 2011.
    """
    folder = root / "lists" if (root / "lists").is_dir() else root
    train, val = (_read_list(folder / f"{split}_list.mat") for split in ("train", "test"))
    names: dict[int, str] = {}
    for name, label in train + val:
        breed = name.split("/")[1]
        if names.setdefault(label, breed) != breed:
            raise DataError(
                f"Stanford Dogs needs one folder a class; class {label + 1} of the lists in {folder} has {names[label]} and "
                f"{breed}: fetch lists.tar again"
            )
    classes = tuple(names.get(label, f"class {label + 1}") for label in range(max(names, default=-1) + 1))
    return ImageSet(train, val, classes, FolderStorage(root))


def _read_list(path: Path) -> Samples:
    files, labels = read_mat(path, "file_list", "labels")
    names = mat_strings(files)
    numbers = [int(label) for label in labels.reshape(-1)] if hasattr(labels, "reshape") else [int(labels)]
    if len(names) != len(numbers) or not all("/" in name for name in names):
        raise DataError(
            f"{path} needs a label for each folder/file; it has {len(names)} files and {len(numbers)} labels, the first "
            f"{names[0] if names else 'none'!r}: fetch lists.tar again"
        )
    return [(f"Images/{name}", number - 1) for name, number in zip(names, numbers, strict=True)]
