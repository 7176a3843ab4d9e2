"""ImageNet-1k (ILSVRC2012): class folders or the original archives, and four sources of the validation labels."""

from __future__ import annotations

import csv
import io
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from timm.data import ImageNetInfo

from gcp_repro.data.image_set import ImageSet, listing, report_partial
from gcp_repro.data.layouts.files import mat_table, read_columns, read_lines, whole_number
from gcp_repro.data.layouts.folders import class_rows
from gcp_repro.data.layouts.lists import Listed
from gcp_repro.data.layouts.splits import check_trained, parse_splits
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import FolderStorage, Storage
from gcp_repro.data.tar_storage import TarStorage
from gcp_repro.errors import DataError
from gcp_repro.stand_ins import refuse_stand_in

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
CAFFE_LIST = "val.txt"
HOW_TO_GET = (
    f"get {TRAIN_TAR}, {VAL_TAR} and {DEVKIT}.tar.gz from https://image-net.org/download.php and run "
    "gcp-data imagenet, or read them in place with data.layout=tar"
)


def parse_imagenet_folders(root: Path, options: OpenOptions) -> ImageSet:
    """ImageNet from `train/<wnid>/` and `val/`, which has folders of the same names or is flat.

    A flat `val/` takes its labels from the devkit, Kaggle's `LOC_val_solution.csv`, torchvision's `meta.bin` or caffe's
    `val.txt`. Classes are numbered in the order of the folders below `train/`, which for the whole set is the usual numbering.

    Args:
        root: Holds `train` and `val`; the labels of a flat `val` may lie here or up to three folders above.
        options: With `allow_partial` validation images of classes that `train` lacks are left out with a warning.

    Raises:
        DataError: A folder too many or without images, or validation images without labels.

    Source:
        Russakovsky et al., ImageNet large scale visual recognition challenge, IJCV 2015.
    """

    def flat_rows(storage: FolderStorage, folder: str, classes: Sequence[str]) -> list[Listed]:
        truth = read_validation_wnids([root, *root.parents[:3]])
        return _flat_validation(storage, folder, truth, classes, options.allow_partial)

    return parse_splits(root, options, flat_rows=flat_rows, known=ImageNetInfo().label_names(), published=1000)


def parse_imagenet_tars(root: Path, options: OpenOptions) -> ImageSet:
    """ImageNet from the archives as downloaded; nothing is unpacked.

    Args:
        root: Holds the two archives and the devkit.
        options: Where the indices of the archives are kept; `allow_partial` as in `parse_imagenet_folders`.

    Raises:
        DataError: An archive or the labels are missing or damaged.
    """
    truth = read_validation_wnids([root])  # a small file first: its absence shows before the archives are scanned
    storage = TarStorage({"train": root / TRAIN_TAR, "val": root / VAL_TAR}, options.index_dir)
    classes = tuple(storage.folders("train"))
    train = class_rows(storage, "train", classes)
    val = _flat_validation(storage, "val", truth, classes, options.allow_partial)
    labels = {wnid: label for label, wnid in enumerate(classes)}
    samples, val_samples = ([(row.name, labels[row.label]) for row in rows] for rows in (train, val))
    return ImageSet(samples, val_samples, classes, storage)


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
        CAFFE_LIST: _from_caffe,
    }
    for folder in folders:
        for name, reader in readers.items():
            if (folder / name).exists():
                return reader(folder / name)
    raise DataError(
        f"ImageNet's flat validation images need labels; looked for {', '.join(readers)} in {', '.join(map(str, folders))}: "
        "put one of them there (the devkit comes from https://image-net.org/download.php), or sort the images into class "
        "folders with gcp-data imagenet"
    )


def _flat_validation(
    storage: Storage, folder: str, truth: GroundTruth, classes: Sequence[str], allow_partial: bool
) -> list[Listed]:
    check_trained(storage.locate("train"), classes, truth.classes, "the ground truth", ImageNetInfo().label_names())
    names = storage.names(folder)
    stems = {name: Path(name).stem for name in names}
    unknown = [name for name in names if stems[name] not in truth.wnids]
    if unknown:
        raise DataError(
            f"each image in {storage.locate(folder)} needs a label; the ground truth has none for {listing(unknown)}: "
            "remove the images that are not ILSVRC2012's"
        )
    trained = set(classes)
    strange = [name for name in names if truth.wnids[stems[name]] not in trained]
    if strange:
        report_partial(
            f"{len(strange):,} of {len(names):,} validation images belong to classes without a folder in train",
            HOW_TO_GET,
            allow_partial=allow_partial,
        )
    return [Listed(name, truth.wnids[stems[name]]) for name in names if truth.wnids[stems[name]] in trained]


def _from_caffe(path: Path) -> GroundTruth:
    """`ILSVRC2012_val_00000001.JPEG 65`: numbers count the wnids in their order; wnids themselves are understood as well."""
    wnids = ImageNetInfo().label_names()
    images = {}
    for name, label in read_columns(path, 2):
        if label not in wnids and not (label.isdecimal() and int(label) < len(wnids)):
            raise DataError(
                f"{path} needs a wnid or a number from 0 to {len(wnids) - 1}; {name} has {label!r}: fetch the list again"
            )
        images[Path(name).stem] = wnids[int(label)] if label.isdecimal() else label
    return GroundTruth(images, frozenset(images.values()))


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
    refuse_stand_in(path)
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
    refuse_stand_in(path)
    try:
        classes, wnids = torch.load(path, weights_only=True)
        return _numbered(list(wnids), classes)
    except Exception as error:  # torch.load raises what the damaged file makes it raise
        raise DataError(
            f"{path} needs torchvision's ImageNet labels; loading it gave {error}: let torchvision write it again"
        ) from error
