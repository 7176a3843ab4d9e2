"""The data sets of images on disk: one row each, with what is known about it and the forms in which it comes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from timm.data import ImageNetInfo

from gcp_repro.data.image_set import Expected, ImageSet
from gcp_repro.data.layouts.aircraft import parse_aircraft
from gcp_repro.data.layouts.cars import parse_car_ims, parse_cars
from gcp_repro.data.layouts.cub import parse_cub
from gcp_repro.data.layouts.dogs import parse_dogs
from gcp_repro.data.layouts.imagenet import (
    HOW_TO_GET,
    TRAIN_TAR,
    VAL_TAR,
    missing_classes,
    parse_imagenet_folders,
    parse_imagenet_tars,
)
from gcp_repro.data.layouts.lacking import Lack
from gcp_repro.data.layouts.parquet import lacking_parquet, parse_parquet
from gcp_repro.data.layouts.shards import lacking_shards, parse_shards
from gcp_repro.data.layouts.splits import lacking_folders, lacking_lists, parse_splits
from gcp_repro.data.open_options import COLUMNS, OpenOptions

__all__ = ["CATALOG", "CatalogEntry", "Layout"]


@dataclass(frozen=True)
class Layout:
    """One form in which a data set comes.

    Args:
        lacking: What a folder lacks of this form; nothing where it is there.
        parse: Reads it.
        columns: What may be named in it, of `COLUMNS`.
    """

    lacking: Callable[[Path, OpenOptions], list[Lack]]
    parse: Callable[[Path, OpenOptions], ImageSet]
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class CatalogEntry:
    """What is known about a data set.

    Args:
        title: Its name in messages.
        layouts: Its forms by name; "auto" takes the first that is there.
        subfolders: Where it may lie below the root.
        advice: How to get or prepare it.
        expected: Its published numbers; None for anyone's own images.
        explain: Words about what differs from the published classes.
        numbered: Names of the classes in the order in which tables and shards number them.
        splits: What its splits are called where that is not usual; each several names to try, themselves one or more.
    """

    title: str
    layouts: dict[str, Layout]
    subfolders: tuple[str, ...]
    advice: str
    expected: Expected | None = None
    explain: Callable[[tuple[str, ...]], str] | None = None
    numbered: Callable[[], list[str]] | None = None
    splits: tuple[OpenOptions, ...] = field(default=(OpenOptions(),))


def _parts(*parts: str) -> Callable[[Path, OpenOptions], list[Lack]]:
    """What a form's files and folders are called; `a|b` stands for either."""

    def lacking(root: Path, options: OpenOptions) -> list[Lack]:
        return [Lack(part) for part in parts if not any((root / name).exists() for name in part.split("|"))]

    return lacking


def _general(published: int | None = None) -> dict[str, Layout]:
    """The forms in which any data set of images may come."""
    return {
        "folder": Layout(lacking_folders, partial(parse_splits, published=published), COLUMNS),  # one split may be a list
        "list": Layout(lacking_lists, partial(parse_splits, published=published, lists_first=True), COLUMNS),
        "parquet": Layout(lacking_parquet, partial(parse_parquet, published=published), ("path_column", "label_column")),
        "webdataset": Layout(lacking_shards, partial(parse_shards, published=published), ("label_column",)),
    }


_DEVKIT = "devkit/cars_train_annos.mat|car_devkit/devkit/cars_train_annos.mat"
_TRAINVAL = tuple(
    OpenOptions(train_split=("train", validation), val_split=("test",)) for validation in ("val", "validation")
)  # the aircraft's training set is called trainval; repackaged, its halves

CATALOG: dict[str, CatalogEntry] = {
    "imagenet": CatalogEntry(
        title="ImageNet-1k",
        layouts={
            "folder": Layout(lacking_folders, parse_imagenet_folders, COLUMNS),
            "tar": Layout(_parts(TRAIN_TAR, VAL_TAR), parse_imagenet_tars),
            **{name: layout for name, layout in _general(1000).items() if name != "folder"},
        },
        subfolders=("imagenet", "ImageNet", "ILSVRC2012", "ILSVRC/Data/CLS-LOC", "imagenet/ILSVRC/Data/CLS-LOC", "imagenet-1k"),
        advice=HOW_TO_GET,
        expected=Expected(classes=1000, train=1_281_167, val=50_000),
        explain=missing_classes,
        numbered=lambda: list(ImageNetInfo().label_names()),
    ),
    "tiny_imagenet": CatalogEntry(
        title="Tiny-ImageNet",
        layouts=_general(200),
        subfolders=("tiny-imagenet-200", "tiny-imagenet", "tiny_imagenet"),
        advice="get tiny-imagenet-200.zip from http://cs231n.stanford.edu/tiny-imagenet-200.zip and unpack it",
        expected=Expected(classes=200, train=100_000, val=10_000),
        splits=(OpenOptions(val_split=("val/val_annotations.txt",)), OpenOptions()),
    ),
    "imagenette": CatalogEntry(
        title="Imagenette",
        layouts=_general(10),
        subfolders=("imagenette2", "imagenette2-320", "imagenette2-160", "imagenette"),
        advice="get imagenette2.tgz as https://github.com/fastai/imagenette says and unpack it",
        expected=Expected(classes=10, train=9_469, val=3_925),
    ),
    "birds": CatalogEntry(
        title="CUB-200-2011",
        layouts={"original": Layout(_parts("images.txt", "images"), parse_cub), **_general(200)},
        subfolders=("CUB_200_2011", "cub", "birds", "birds/CUB_200_2011", "CUB_200_2011/CUB_200_2011"),
        advice="get CUB_200_2011.tgz from https://data.caltech.edu/records/65de6-vp158 and unpack it",
        expected=Expected(classes=200, train=5_994, val=5_794),
    ),
    "dogs": CatalogEntry(
        title="Stanford Dogs",
        layouts={
            "original": Layout(_parts("Images|images/Images", "lists/train_list.mat|train_list.mat"), parse_dogs),
            **_general(120),
        },
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
            "car_ims": Layout(_parts("cars_annos.mat", "car_ims"), parse_car_ims),
            "original": Layout(_parts(_DEVKIT, "cars_train", "cars_test"), parse_cars),
            **_general(196),
        },
        subfolders=("stanford_cars", "StanfordCars", "cars", "car_data/car_data"),
        advice=(
            "its home page is gone; get car_ims.tgz with cars_annos.mat, or cars_train.tgz, cars_test.tgz, car_devkit.tgz and "
            "cars_test_annos_withlabels.mat, from a mirror (see pytorch/vision issue 7545) and unpack them"
        ),
        expected=Expected(classes=196, train=8_144, val=8_041),
    ),
    "aircraft": CatalogEntry(
        title="FGVC-Aircraft",
        layouts={"original": Layout(_parts("data/images_variant_trainval.txt", "data/images"), parse_aircraft), **_general(100)},
        subfolders=(
            "fgvc-aircraft-2013b", "FGVC_Aircraft", "aircraft", "aircraft/fgvc-aircraft-2013b",
            "fgvc-aircraft-2013b/fgvc-aircraft-2013b",
        ),
        advice="get fgvc-aircraft-2013b.tar.gz from https://www.robots.ox.ac.uk/~vgg/data/fgvc-aircraft and unpack it",
        expected=Expected(classes=100, train=6_667, val=3_333),
        splits=(*_TRAINVAL, OpenOptions()),
    ),
    "image_folder": CatalogEntry(
        title="the image folder",
        layouts=_general(),
        subfolders=(),
        advice="put images into train/<class>/ and val/<class>/, or write train.txt and val.txt (or one, with data.split_column)",
    ),
}  # fmt: skip
