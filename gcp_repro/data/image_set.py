"""What a data set consists of according to its own files, and the checks that every layout shares."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from gcp_repro.data.storage import Storage, printable
from gcp_repro.errors import DataError, OptionError, UnknownNameError

__all__ = ["Expected", "ImageSet", "Samples", "Split", "check_counts", "check_labels", "listing", "select_subset"]

log = logging.getLogger(__name__)

Split = Literal["train", "val"]
Samples = list[tuple[str, int]]
"""(name in the storage, label counted from 0), in the order of the data set's own lists."""


@dataclass(frozen=True)
class ImageSet:
    """The two splits of a data set.

    Args:
        train: Training images.
        val: Evaluation images: the test set, or ImageNet's validation set.
        classes: Names of the classes; a label is a position in it.
        storage: Reads the names in `train` and `val`.
    """

    train: Samples
    val: Samples
    classes: tuple[str, ...]
    storage: Storage

    def split(self, split: Split) -> Samples:
        """The samples of one split."""
        return self.train if split == "train" else self.val


@dataclass(frozen=True)
class Expected:
    """What a published data set is known to hold."""

    classes: int
    train: int
    val: int


def listing(names: Sequence[object], limit: int = 5) -> str:
    """The first few names and how many more there are, for messages.

    Example:
        >>> listing(["a", "b", "c"], limit=2)
        'a, b and 1 more'
    """
    shown = ", ".join(map(printable, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"


def check_labels(title: str, image_set: ImageSet) -> None:
    """Refuse what no option can make right.

    Raises:
        DataError: A label outside the classes, an image listed twice, an image in both splits, or an empty split.
    """
    for split in ("train", "val"):
        samples = image_set.split(split)
        if not samples:
            raise DataError(f"{title} needs images for {split!r}; found none: check that the archive was unpacked whole")
        wrong = [f"{name} (class {label + 1})" for name, label in samples if not 0 <= label < len(image_set.classes)]
        if wrong:
            raise DataError(
                f"{title} needs labels from 1 to {len(image_set.classes)}; out of range: {listing(wrong)}: "
                "the label files do not belong together; fetch them again"
            )
        twice = [name for name, times in Counter(name for name, _ in samples).items() if times > 1]
        if twice:
            raise DataError(f"{title} needs each image once; listed twice for {split!r}: {listing(twice)}: repair the list")
    shared = sorted({name for name, _ in image_set.train} & {name for name, _ in image_set.val})
    if shared:
        raise DataError(
            f"{title} needs training and test lists without common images; {len(shared)} are in both: {listing(shared)}: "
            "its errors would mean nothing; fetch the original lists again"
        )


def check_counts(title: str, image_set: ImageSet, expected: Expected, advice: str, *, allow_partial: bool) -> None:
    """Compare with the published numbers of images and classes.

    Args:
        title: Name of the data set and where it was read, for messages.
        image_set: What was found.
        expected: The published numbers.
        advice: How to get or prepare the data.
        allow_partial: Warn instead of raising.

    Raises:
        DataError: The numbers differ, or there are more classes than published, which `allow_partial` does not excuse.
    """
    beyond = [f"{name} (class {label + 1})" for name, label in image_set.train + image_set.val if label >= expected.classes]
    if beyond:
        raise DataError(
            f"{title} needs labels from 1 to {expected.classes}; {len(image_set.classes):,} classes are there, and beyond the "
            f"range are {listing(beyond)}: {advice}"
        )
    pairs = {
        "classes": (len(image_set.classes), expected.classes),
        "training images": (len(image_set.train), expected.train),
        "evaluation images": (len(image_set.val), expected.val),
    }
    wrong = [f"{found:,} of {known:,} {what}" for what, (found, known) in pairs.items() if found != known]
    if wrong:
        report_partial(f"{title} is not the published set: it has {', '.join(wrong)}", advice, allow_partial=allow_partial)


def report_partial(problem: str, advice: str, *, allow_partial: bool) -> None:
    """Raise, or warn where the user has said that part of the data is enough.

    Raises:
        DataError: `allow_partial` is false.
    """
    if not allow_partial:
        raise DataError(f"{problem}: {advice}; or set data.allow_partial=true to go on with what is there")
    log.warning("%s; going on, because data.allow_partial=true", problem)


def select_subset(
    image_set: ImageSet, *, classes: int | Sequence[str] | None = None, fraction: float = 1.0, seed: int = 0
) -> ImageSet:
    """A part of a data set, the same one for the same seed.

    Args:
        image_set: The whole.
        classes: Names to keep, or how many to draw; they are numbered anew in their old order. None keeps all.
        fraction: Share of the training images to keep, drawn class by class, at least one each. The evaluation
            set is never thinned out.
        seed: Decides what is drawn; separate from the run's seed, so that runs share their data.

    Raises:
        OptionError: A fraction outside (0, 1], no class, or a number of classes that the set does not have.
        UnknownNameError: A class that the set does not have.
    """
    if not 0 < fraction <= 1:
        raise OptionError(f"data.fraction needs a number in (0, 1]; got {fraction}: choose another")
    if classes is not None:
        image_set = _keep_classes(image_set, _chosen_classes(image_set.classes, classes, seed))
    if fraction < 1:
        image_set = replace(image_set, train=_thin_out(image_set.train, fraction, seed))
    return image_set


def _chosen_classes(known: Sequence[str], classes: int | Sequence[str], seed: int) -> list[int]:
    if isinstance(classes, int):
        if not 1 <= classes <= len(known):
            raise OptionError(f"data.classes needs 1 to {len(known)} classes; got {classes}: choose another number")
        return sorted(np.random.default_rng(seed).permutation(len(known))[:classes].tolist())
    if not classes:
        raise OptionError("data.classes needs at least one class; got an empty list: name some, say how many, or set it to null")
    for name in classes:
        if name not in known:
            raise UnknownNameError("class", name, known)
    return sorted({known.index(name) for name in classes})


def _keep_classes(image_set: ImageSet, labels: Iterable[int]) -> ImageSet:
    renumbered = {label: position for position, label in enumerate(labels)}

    def kept(samples: Samples) -> Samples:
        return [(name, renumbered[label]) for name, label in samples if label in renumbered]

    names = tuple(image_set.classes[label] for label in renumbered)
    return replace(image_set, train=kept(image_set.train), val=kept(image_set.val), classes=names)


def _thin_out(samples: Samples, fraction: float, seed: int) -> Samples:
    by_class: dict[int, list[int]] = {}
    for position, (_, label) in enumerate(samples):
        by_class.setdefault(label, []).append(position)
    generator = np.random.default_rng(seed)
    kept: list[int] = []
    for label in sorted(by_class):
        positions = by_class[label]
        kept += generator.permutation(positions)[: max(1, round(fraction * len(positions)))].tolist()
    return [samples[position] for position in sorted(kept)]
