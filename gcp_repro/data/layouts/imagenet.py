"""ImageNet-1k (ILSVRC2012): class folders or the original archives, and three sources of the validation labels."""

from __future__ import annotations

import csv
import io
import re
import tarfile
import tempfile
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.data import ImageNetInfo

from gcp_repro.data.image_set import ImageSet, Samples, listing, report_partial
from gcp_repro.data.layouts.files import mat_table, read_lines, whole_number
from gcp_repro.data.layouts.folders import class_samples
from gcp_repro.data.storage import FolderStorage, Storage
from gcp_repro.data.tar_storage import TarStorage
from gcp_repro.errors import DataError

__all__ = [
    "DEVKIT",
    "HOW_TO_GET",
    "TRAIN_TAR",
    "VAL_TAR",
    "GroundTruth",
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
    evaluated = storage.folders("val")
    if evaluated:
        _check_classes(storage, classes, evaluated, "val", allow_partial)
        return ImageSet(train, class_samples(storage, "val", classes), classes, storage)
    truth = read_validation_wnids([root, *root.parents[:3]])
    return ImageSet(train, _flat_validation(storage, truth, classes, allow_partial), classes, storage)


def parse_imagenet_tars(root: Path, *, index_dir: Path | None = None, allow_partial: bool = False) -> ImageSet:
    """ImageNet from the archives as downloaded; nothing is unpacked.

    Args:
        root: Holds the two archives and the devkit.
        index_dir: Where the index of an archive is kept; beside it if None.
        allow_partial: As in `parse_imagenet_folders`.

    Raises:
        DataError: An archive or the labels are missing or damaged.
    """
    truth = read_validation_wnids([root])  # a small file first: its absence shows before the archives are scanned
    storage = TarStorage({"train": root / TRAIN_TAR, "val": root / VAL_TAR}, index_dir)
    classes = tuple(storage.folders("train"))
    train = class_samples(storage, "train", classes)
    return ImageSet(train, _flat_validation(storage, truth, classes, allow_partial), classes, storage)


def missing_classes(classes: Sequence[str]) -> str:
    """Words about the wnids that differ from ImageNet-1k's, or "" where they are the same or the classes have other names."""
    known = ImageNetInfo().label_names()
    if not any(re.fullmatch(r"n\d{8}", name) for name in classes):
        return ""
    absent, unknown = sorted(set(known) - set(classes)), sorted(set(classes) - set(known))
    parts = [f"{len(absent)} classes are missing: {listing(absent)}"] if absent else []
    return "; ".join(parts + ([f"no classes of ImageNet-1k: {listing(unknown)}"] if unknown else []))


@dataclass(frozen=True)
class GroundTruth:
    """What a source of labels says about the validation images.

    Args:
        wnids: Wnid of each image, by the image's name without suffix.
        classes: All wnids that the source knows.
    """

    wnids: dict[str, str]
    classes: frozenset[str]


def read_validation_wnids(folders: Sequence[Path]) -> GroundTruth:
    """The labels of the validation images.

    Args:
        folders: Where a source of labels may lie, the likeliest first.

    Raises:
        DataError: No source is there, or one is damaged.
    """
    readers: dict[str, Callable[[Path], GroundTruth]] = {
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


def _check_classes(
    storage: Storage, classes: Sequence[str], evaluated: Collection[str], source: str, allow_partial: bool
) -> None:
    """Refuse folders of training images that are no classes; those of classes without evaluation images are missing data."""
    unmatched = sorted(set(classes) - set(evaluated))
    strange = sorted(set(unmatched) - set(ImageNetInfo().label_names()))
    if strange:
        raise DataError(
            f"{storage.locate('train')} needs folders of classes alone; it also has {listing(strange)}, which neither {source} "
            "nor ImageNet-1k has: remove or rename them"
        )
    if unmatched:
        report_partial(
            f"{storage.locate('train')} has {len(unmatched):,} classes that {source} lacks: {listing(unmatched)}",
            HOW_TO_GET,
            allow_partial=allow_partial,
        )


def _flat_validation(storage: Storage, truth: GroundTruth, classes: Sequence[str], allow_partial: bool) -> Samples:
    _check_classes(storage, classes, truth.classes, "the ground truth of val", allow_partial)
    wnids = truth.wnids
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


def _from_devkit(folder: Path) -> GroundTruth:
    meta = folder / "data" / "meta.mat"
    synsets = mat_table(meta, "synsets", "ILSVRC2012_ID", "WNID")
    wnids = {str(whole_number(number, meta)): str(wnid) for number, wnid in synsets}
    path = folder / "data" / "ILSVRC2012_validation_ground_truth.txt"
    lines = read_lines(path)
    wrong = sorted(set(lines) - set(wnids))
    if wrong:
        raise DataError(f"{path} needs the numbers of meta.mat; it also holds {listing(wrong)}: fetch the devkit again")
    return _numbered([wnids[line] for line in lines], wnids.values())


def _numbered(wnids: Sequence[str], classes: Iterable[str]) -> GroundTruth:
    images = {f"ILSVRC2012_val_{number:08d}": wnid for number, wnid in enumerate(wnids, start=1)}
    return GroundTruth(images, frozenset(classes) | frozenset(wnids))


def _from_devkit_archive(path: Path) -> GroundTruth:
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


def _from_kaggle(path: Path) -> GroundTruth:
    rows = csv.DictReader(io.StringIO("\n".join(read_lines(path))))
    try:
        wnids = {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (KeyError, IndexError, AttributeError) as error:  # AttributeError: a row that ends early
        raise DataError(
            f"{path} needs the columns ImageId and PredictionString in each row; one is missing: fetch it again from Kaggle"
        ) from error
    return GroundTruth(wnids, frozenset(wnids.values()))


def _from_meta_bin(path: Path) -> GroundTruth:
    try:
        classes, wnids = torch.load(path, weights_only=True)
        return _numbered(list(wnids), classes)
    except Exception as error:  # torch.load raises what the damaged file makes it raise
        raise DataError(
            f"{path} needs torchvision's ImageNet labels; loading it gave {error}: let torchvision write it again"
        ) from error
