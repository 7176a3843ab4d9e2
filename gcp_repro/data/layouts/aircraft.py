"""FGVC-Aircraft 2013b with its variants as classes."""

from __future__ import annotations

from pathlib import Path

from gcp_repro.data.image_set import ImageSet, Samples, listing
from gcp_repro.data.layouts.files import read_columns, read_lines
from gcp_repro.data.open_options import OpenOptions
from gcp_repro.data.storage import FolderStorage
from gcp_repro.errors import DataError, nearest_names

__all__ = ["parse_aircraft"]


def parse_aircraft(root: Path, options: OpenOptions) -> ImageSet:
    """Aircraft from `data/variants.txt`, `data/images_variant_trainval.txt` and `data/images_variant_test.txt`.

    Raises:
        DataError: A file is missing or damaged, or names a variant that `variants.txt` does not.

    Source:
        Maji, Rahtu, Kannala, Blaschko, Vedaldi, Fine-grained visual classification of aircraft, arXiv:1306.5151.
    """
    variants = tuple(read_lines(root / "data" / "variants.txt"))
    labels = {variant: label for label, variant in enumerate(variants)}
    if len(labels) < len(variants):
        twice = sorted({variant for variant in variants if variants.count(variant) > 1})
        raise DataError(
            f"{root / 'data' / 'variants.txt'} needs each variant once; twice: {listing(twice)}: fetch the archive again"
        )
    train, val = (_read_split(root / "data" / f"images_variant_{split}.txt", labels) for split in ("trainval", "test"))
    return ImageSet(train, val, variants, FolderStorage(root))


def _read_split(path: Path, labels: dict[str, int]) -> Samples:
    samples = []
    for image, variant in read_columns(path, 2):
        if variant not in labels:
            nearest = ", ".join(nearest_names(variant, labels)) or "none is near"
            raise DataError(
                f"{path} needs the variants of variants.txt; image {image} is {variant!r} (nearest: {nearest}): fetch the "
                "archive again"
            )
        samples.append((f"data/images/{image}.jpg", labels[variant]))
    return samples
