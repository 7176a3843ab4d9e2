"""ImageNet-1k (ILSVRC2012): class folders or the original archives, and three sources of the validation labels."""

from __future__ import annotations

import csv
import io
import tarfile
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from timm.data import ImageNetInfo

from gcp_repro.data.image_set import ImageSet, Samples, listing, report_partial
from gcp_repro.data.layouts.files import mat_table, read_lines
from gcp_repro.data.layouts.folders import class_samples
from gcp_repro.data.storage import FolderStorage, Storage
from gcp_repro.data.tar_storage import TarStorage
from gcp_repro.errors import DataError

__all__ = [
    "DEVKIT",
    "HOW_TO_GET",
    "TRAIN_TAR",
    "VAL_TAR",
    "missing_classes",
    "parse_imagenet_folders",
    "parse_imagenet_tars",
    "read_validation_wnids",
]

TRAIN_TAR = "ILSVRC2012_img_train.tar"
VAL_TAR = "ILSVRC2012_img_val.tar"
DEVKIT = "ILSVRC2012_devkit_t12"
KAGGLE_SOLUTION = "LOC_val_solution.csv"
META_BIN = "meta.bin"
HOW_TO_GET = (
    f"get {TRAIN_TAR}, {VAL_TAR} and {DEVKIT}.tar.gz from https://image-net.org/download.php and run "
    "scripts/prepare_imagenet.py, or read them in place with data.layout=tar"
)


def parse_imagenet_folders(root: Path, *, allow_partial: bool = False) -> ImageSet:
    """ImageNet from `train/<wnid>/` and `val/`, which has folders of the same names or is flat.

    A flat `val/` takes its labels from the devkit, Kaggle's `LOC_val_solution.csv` or torchvision's `meta.bin`. Classes are
    numbered in the order of the folders below `train/`, which for the whole set is the usual numbering.

    Args:
        root: Holds `train` and `val`; the labels of a flat `val` may lie here or up to three folders above.
        allow_partial: Leave out validation images of classes that `train` lacks, with a warning.

    Raises:
        DataError: A folder too many or without images, or validation images without labels.

    Source:
        Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015.
    """
    storage = FolderStorage(root)
    classes = tuple(storage.folders("train"))
    train = class_samples(storage, "train", classes)
    if storage.folders("val"):
        return ImageSet(train, class_samples(storage, "val", classes), classes, storage)
    wnids = read_validation_wnids([root, *root.parents[:3]])
    return ImageSet(train, _flat_validation(storage, wnids, classes, allow_partial), classes, storage)


def parse_imagenet_tars(root: Path, *, index_dir: Path | None = None, allow_partial: bool = False) -> ImageSet:
    """ImageNet from the archives as downloaded; nothing is unpacked.

    Args:
        root: Holds the two archives and the devkit.
        index_dir: Where the index of an archive is kept; beside it if None.
        allow_partial: As in `parse_imagenet_folders`.

    Raises:
        DataError: An archive or the labels are missing or damaged.
    """
    wnids = read_validation_wnids([root])  # a small file first: its absence shows before the archives are scanned
    storage = TarStorage({"train": root / TRAIN_TAR, "val": root / VAL_TAR}, index_dir)
    classes = tuple(storage.folders("train"))
    train = class_samples(storage, "train", classes)
    return ImageSet(train, _flat_validation(storage, wnids, classes, allow_partial), classes, storage)


def missing_classes(classes: Sequence[str]) -> str:
    """Words about the wnids that differ from ImageNet-1k's, or "" where they are the same."""
    known = ImageNetInfo().label_names()
    absent, unknown = sorted(set(known) - set(classes)), sorted(set(classes) - set(known))
    parts = [f"{len(absent)} classes are missing: {listing(absent)}"] if absent else []
    return "; ".join(parts + ([f"no classes of ImageNet-1k: {listing(unknown)}"] if unknown else []))


def read_validation_wnids(folders: Sequence[Path]) -> dict[str, str]:
    """The wnid of each validation image, by the image's name without suffix.

    Args:
        folders: Where a source of labels may lie, the likeliest first.

    Raises:
        DataError: No source is there, or one is damaged.
    """
    readers: dict[str, Callable[[Path], dict[str, str]]] = {
        DEVKIT: _from_devkit,
        f"{DEVKIT}.tar.gz": _from_devkit_archive,
        KAGGLE_SOLUTION: _from_kaggle,
        META_BIN: _from_meta_bin,
    }
    for folder in folders:
        for name, reader in readers.items():
            if (folder / name).exists():
                return reader(folder / name)
    raise DataError(
        f"ImageNet's flat validation images need labels; looked for {', '.join(readers)} in {', '.join(map(str, folders))}: "
        "put one of them there (the devkit comes from https://image-net.org/download.php), or sort the images into class "
        "folders with scripts/prepare_imagenet.py"
    )


def _flat_validation(storage: Storage, wnids: dict[str, str], classes: Sequence[str], allow_partial: bool) -> Samples:
    labels = {wnid: label for label, wnid in enumerate(classes)}
    names = storage.names("val")
    stems = {name: Path(name).stem for name in names}
    unknown = [name for name in names if stems[name] not in wnids]
    if unknown:
        raise DataError(
            f"each image in {storage.locate('val')} needs a label; the ground truth has none for {listing(unknown)}: "
            "remove the images that are not ILSVRC2012's"
        )
    strange = [name for name in names if wnids[stems[name]] not in labels]
    if strange:
        report_partial(
            f"{len(strange):,} of {len(names):,} validation images belong to classes without a folder in train",
            HOW_TO_GET,
            allow_partial=allow_partial,
        )
    return [(name, labels[wnids[stems[name]]]) for name in names if wnids[stems[name]] in labels]


def _from_devkit(folder: Path) -> dict[str, str]:
    data = folder / "data"
    return _ground_truth(
        data / "ILSVRC2012_validation_ground_truth.txt", mat_table(data / "meta.mat", "synsets", "ILSVRC2012_ID", "WNID")
    )


def _ground_truth(path: Path, synsets: Sequence[tuple[Any, ...]]) -> dict[str, str]:
    wnids = {str(int(number)): str(wnid) for number, wnid in synsets}
    lines = read_lines(path)
    wrong = sorted(set(lines) - set(wnids))
    if wrong:
        raise DataError(f"{path} needs the numbers of meta.mat; it also holds {listing(wrong)}: fetch the devkit again")
    return _numbered([wnids[line] for line in lines])


def _numbered(wnids: Sequence[str]) -> dict[str, str]:
    return {f"ILSVRC2012_val_{number:08d}": wnid for number, wnid in enumerate(wnids, start=1)}


def _from_devkit_archive(path: Path) -> dict[str, str]:
    names = ("ILSVRC2012_validation_ground_truth.txt", "meta.mat")
    try:
        with tarfile.open(path) as archive:
            content = {Path(member.name).name: archive.extractfile(member) for member in archive if member.isfile()}
            loaded = {name: content[name].read() for name in names}  # type: ignore[union-attr]
    except (tarfile.TarError, OSError, EOFError, KeyError) as error:
        raise DataError(f"{path} needs to hold {' and '.join(names)}; reading it gave {error}: fetch the devkit again") from error
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        for name in names:
            (data / name).write_bytes(loaded[name])
        return _from_devkit(Path(folder))


def _from_kaggle(path: Path) -> dict[str, str]:
    rows = csv.DictReader(io.StringIO("\n".join(read_lines(path))))
    try:
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (KeyError, IndexError) as error:
        raise DataError(f"{path} needs the columns ImageId and PredictionString: fetch it again from Kaggle") from error


def _from_meta_bin(path: Path) -> dict[str, str]:
    try:
        _, wnids = torch.load(path, weights_only=True)
    except Exception as error:  # torch.load raises what the damaged file makes it raise
        raise DataError(
            f"{path} needs torchvision's ImageNet labels; loading it gave {error}: let torchvision write it again"
        ) from error
    return _numbered(list(wnids))
