"""The data sets of images on disk: one row each, with what is known about it and how to open it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from gcp_repro.data.image_set import Expected, ImageSet, check_counts, check_labels, listing, report_partial
from gcp_repro.data.layouts.aircraft import parse_aircraft
from gcp_repro.data.layouts.cars import parse_cars
from gcp_repro.data.layouts.cub import parse_cub
from gcp_repro.data.layouts.dogs import parse_dogs
from gcp_repro.data.layouts.folders import parse_folders
from gcp_repro.data.layouts.imagenet import (
    HOW_TO_GET,
    TRAIN_TAR,
    missing_classes,
    parse_imagenet_folders,
    parse_imagenet_tars,
)
from gcp_repro.data.layouts.tables import parse_parquet, parse_shards
from gcp_repro.data.storage import FolderStorage
from gcp_repro.errors import DataError, UnknownNameError

__all__ = ["CATALOG", "CatalogEntry", "Layout", "OpenOptions", "open_image_set"]


@dataclass(frozen=True)
class OpenOptions:
    """What a user decides about opening a data set.

    Args:
        allow_partial: Warn about missing images and unexpected counts instead of raising.
        index_dir: Where indices of archives are kept; beside them if None.
    """

    allow_partial: bool = False
    index_dir: Path | None = None


@dataclass(frozen=True)
class Layout:
    """One form in which a data set comes.

    Args:
        markers: Files or folders, each of which shows this form, relative to the root; may be patterns.
        parse: Reads it.
    """

    markers: tuple[str, ...]
    parse: Callable[[Path, OpenOptions], ImageSet]


@dataclass(frozen=True)
class CatalogEntry:
    """What is known about a data set.

    Args:
        title: Its name in messages.
        layouts: Its forms by name; "auto" takes the first whose marker is there.
        subfolders: Where it may lie below the root.
        advice: How to get or prepare it.
        expected: Its published numbers; None for anyone's own images.
        explain: Words about what differs from the published classes.
    """

    title: str
    layouts: dict[str, Layout]
    subfolders: tuple[str, ...]
    advice: str
    expected: Expected | None = None
    explain: Callable[[tuple[str, ...]], str] | None = None


def _plain(parse: Callable[[Path], ImageSet]) -> Callable[[Path, OpenOptions], ImageSet]:
    return lambda root, options: parse(root)


_IMAGENET_LAYOUTS = {
    "folder": Layout(("train/*/*",), lambda root, options: parse_imagenet_folders(root, allow_partial=options.allow_partial)),
    "tar": Layout(
        (TRAIN_TAR,),
        lambda root, options: parse_imagenet_tars(root, index_dir=options.index_dir, allow_partial=options.allow_partial),
    ),
    "parquet": Layout(
        ("train-*.parquet", "data/train-*.parquet"),
        lambda root, options: parse_parquet(root, allow_partial=options.allow_partial),
    ),
    "webdataset": Layout(
        ("*train-*.tar", "train/*train-*.tar"), lambda root, options: parse_shards(root, index_dir=options.index_dir)
    ),
}

CATALOG: dict[str, CatalogEntry] = {
    "imagenet": CatalogEntry(
        title="ImageNet-1k",
        layouts=_IMAGENET_LAYOUTS,
        subfolders=("imagenet", "ImageNet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC", "imagenet/ILSVRC/Data/CLS-LOC", "imagenet-1k"),
        advice=HOW_TO_GET,
        expected=Expected(classes=1000, train=1_281_167, val=50_000),
        explain=missing_classes,
    ),
    "birds": CatalogEntry(
        title="CUB-200-2011",
        layouts={"original": Layout(("images.txt",), _plain(parse_cub))},
        subfolders=("CUB_200_2011", "cub", "birds", "birds/CUB_200_2011"),
        advice="get CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 and unpack it",
        expected=Expected(classes=200, train=5_994, val=5_794),
    ),
    "dogs": CatalogEntry(
        title="Stanford Dogs",
        layouts={"original": Layout(("Images",), _plain(parse_dogs))},
        subfolders=("StanfordDogs", "stanford_dogs", "dogs"),
        advice=(
            "get images.tar and lists.tar from http://vision.stanford.edu/aditya86/ImageNetDogs and unpack both, "
            "the lists into lists/"
        ),
        expected=Expected(classes=120, train=12_000, val=8_580),
    ),
    "cars": CatalogEntry(
        title="Stanford Cars",
        layouts={
            "car_ims": Layout(("cars_annos.mat",), _plain(parse_cars)),
            "original": Layout(("devkit/cars_train_annos.mat",), _plain(parse_cars)),
        },
        subfolders=("stanford_cars", "StanfordCars", "cars"),
        advice=(
            "its home page is gone; get car_ims.tgz with cars_annos.mat, or cars_train.tgz, cars_test.tgz, car_devkit.tgz and "
            "cars_test_annos_withlabels.mat, from a mirror (see pytorch/vision issue 7545) and unpack them"
        ),
        expected=Expected(classes=196, train=8_144, val=8_041),
    ),
    "aircraft": CatalogEntry(
        title="FGVC-Aircraft",
        layouts={"original": Layout(("data/images_variant_trainval.txt",), _plain(parse_aircraft))},
        subfolders=("fgvc-aircraft-2013b", "FGVC_Aircraft", "aircraft", "aircraft/fgvc-aircraft-2013b"),
        advice=("get fgvc-aircraft-2013b.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft and unpack it"),
        expected=Expected(classes=100, train=6_667, val=3_333),
    ),
    "image_folder": CatalogEntry(
        title="the image folder",
        layouts={"folder": Layout(("train/*/*",), _plain(parse_folders))},
        subfolders=(),
        advice="put images into train/<class>/ and val/<class>/",
    ),
}


def open_image_set(dataset: str, root: Path, layout: str = "auto", options: OpenOptions | None = None) -> ImageSet:
    """The checked splits of a data set of the catalogue.

    Args:
        dataset: A name in `CATALOG`.
        root: Holds the data set, or one of its usual folders.
        layout: One of the entry's layouts, or "auto".
        options: See `OpenOptions`.

    Raises:
        UnknownNameError: No such data set or layout.
        DataError: Files are missing, damaged, contradictory, or fewer or more than published.
    """
    options = options or OpenOptions()
    if dataset not in CATALOG:
        raise UnknownNameError("data set", dataset, CATALOG)
    entry = CATALOG[dataset]
    found_layout, place = _find_layout(entry, root, layout)
    image_set = found_layout.parse(place, options)
    title = f"{entry.title} in {place}"
    check_labels(title, image_set)
    image_set = _without_missing_files(title, image_set, entry.advice, allow_partial=options.allow_partial)
    if entry.expected is not None:
        differs = entry.explain(image_set.classes) if entry.explain is not None else ""
        check_counts(
            title,
            image_set,
            entry.expected,
            f"{differs}; {entry.advice}" if differs else entry.advice,
            allow_partial=options.allow_partial,
        )
    return image_set


def _find_layout(entry: CatalogEntry, root: Path, name: str) -> tuple[Layout, Path]:
    """The layout asked for or found, and the folder it was found in."""
    if name != "auto" and name not in entry.layouts:
        raise UnknownNameError(f"layout of {entry.title}", name, ["auto", *entry.layouts])
    wanted = list(entry.layouts.values()) if name == "auto" else [entry.layouts[name]]
    for place in (root, *(root / folder for folder in entry.subfolders)):
        for layout in wanted:
            if any(next(place.glob(marker), None) is not None for marker in layout.markers):
                return layout, place
    markers = " or ".join(repr(layout.markers[0]) for layout in wanted)
    places = ", ".join(str(place) for place in (root, *(root / folder for folder in entry.subfolders)))
    raise DataError(
        f"{entry.title} needs {markers}; looked in {places}: {entry.advice}, then name the folder by data.root, "
        "paths.data_dir or the environment variable GCP_DATA_DIR"
    )


def _without_missing_files(title: str, image_set: ImageSet, advice: str, *, allow_partial: bool) -> ImageSet:
    """Check that the files of the lists exist; archives and scanned folders hold what they list."""
    if not isinstance(image_set.storage, FolderStorage):
        return image_set
    names = [name for name, _ in image_set.train + image_set.val]
    missing = image_set.storage.missing(names)
    if not missing:
        return image_set
    report_partial(
        f"{title} lacks {len(missing):,} of the {len(names):,} images on its lists: {listing(missing)}",
        advice,
        allow_partial=allow_partial,
    )
    absent = set(missing)
    train, val = ([row for row in samples if row[0] not in absent] for samples in (image_set.train, image_set.val))
    if not (train and val):
        raise DataError(
            f"{title} needs images in both splits; of those on its lists {len(train):,} are there for training and {len(val):,} "
            f"for evaluation, the first that is not: {missing[0]}: {advice}"
        )
    return replace(image_set, train=train, val=val)
