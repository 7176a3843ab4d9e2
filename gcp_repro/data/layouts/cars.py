"""Stanford Cars, in the original form (two folders and a devkit) and in the later one (`car_ims`)."""

from __future__ import annotations

from pathlib import Path

from gcp_repro.data.image_set import ImageSet, Samples
from gcp_repro.data.layouts.files import mat_strings, mat_table, read_mat, whole_number
from gcp_repro.data.layouts.folders import unnested
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import FolderStorage
from gcp_repro.errors import DataError

__all__ = ["parse_car_ims", "parse_cars"]


LABELLED = "cars_test_annos_withlabels.mat"


def parse_car_ims(root: Path, options: OpenOptions) -> ImageSet:
    """Cars in the later form: `car_ims/` with `cars_annos.mat`.

    Raises:
        DataError: The file is damaged.

    Source:
        Krause, Stark, Deng, Fei-Fei, 3D object representations for fine-grained categorization, 3dRR 2013.
    """
    path = root / "cars_annos.mat"
    rows = mat_table(path, "annotations", "relative_im_path", "class", "test")
    splits: tuple[Samples, Samples] = ([], [])
    for name, label, is_test in rows:
        number = whole_number(is_test, path)
        if number not in (0, 1):
            raise DataError(f"{path} needs 0 or 1 in the field 'test'; {name} has {number}: fetch the file again")
        splits[number].append((str(name), whole_number(label, path) - 1))
    (classes,) = read_mat(path, "class_names")
    return ImageSet(splits[0], splits[1], tuple(mat_strings(classes)), FolderStorage(root), first_label=1)


def parse_cars(root: Path, options: OpenOptions) -> ImageSet:
    """Cars in the original form: `devkit/`, `cars_train/` and `cars_test/`.

    The labels of the test images come in a file of their own, `cars_test_annos_withlabels.mat`, beside the devkit or in it. Each
    folder may lie in one of its own name, as Kaggle's archive has them.

    Raises:
        DataError: A file is missing or damaged.
    """
    devkit = root / unnested(root, "devkit", "car_devkit/devkit", "car_devkit")
    places = [root / LABELLED, devkit / LABELLED]
    found = next((place for place in places if place.exists()), None)
    if found is None:
        raise DataError(
            f"Stanford Cars needs the labels of the test images; looked for {' and '.join(map(str, places))}: "
            f"get {LABELLED} from where the images came from; the devkit's cars_test_annos.mat has none"
        )
    (classes,) = read_mat(devkit / "cars_meta.mat", "class_names")
    return ImageSet(
        _annotations(devkit / "cars_train_annos.mat", unnested(root, "cars_train")),
        _annotations(found, unnested(root, "cars_test")),
        tuple(mat_strings(classes)),
        FolderStorage(root),
        first_label=1,
    )


def _annotations(path: Path, folder: str) -> Samples:
    rows = mat_table(path, "annotations", "fname", "class")
    return [(f"{folder}/{name}", whole_number(label, path) - 1) for name, label in rows]
