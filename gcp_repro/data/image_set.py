"""What a data set consists of according to its own files, and the checks that every layout shares."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from gcp_repro.data.storage import Storage
from gcp_repro.errors import DataError
from gcp_repro.user_paths import printable

__all__ = [
    "SPLITS",
    "Expected",
    "ImageSet",
    "Samples",
    "Split",
    "check_classes",
    "check_counts",
    "check_labels",
    "listing",
    "loosely",
    "one_form",
]

log = logging.getLogger(__name__)

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")
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
        first_label: What the data set's own files call the first class, 0 or 1; for messages.
    """

    train: Samples
    val: Samples
    classes: tuple[str, ...]
    storage: Storage
    first_label: int = 0

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


def loosely(name: str) -> str:
    """What a name is but for case and blanks, which are easily overlooked.

    Example:
        >>> loosely("Laysan Albatross ")
        'laysanalbatross'
    """
    return "".join(name.casefold().split())


def one_form(name: str) -> str:
    """A name in the one form that Unicode has for it: file systems and editors write `é` in two ways."""
    return unicodedata.normalize("NFC", name)


def check_labels(title: str, image_set: ImageSet) -> None:
    """Refuse what no option can make right.

    Raises:
        DataError: A label outside the classes, an image listed twice, an image in both splits, or an empty split.
    """
    for split in SPLITS:
        samples = image_set.split(split)
        if not samples:
            raise DataError(f"{title} needs images for {split!r}; found none: check that the archive was unpacked whole")
        first = image_set.first_label
        wrong = [f"{name} (class {label + first})" for name, label in samples if not 0 <= label < len(image_set.classes)]
        if wrong:
            raise DataError(
                f"{title} needs labels from {first} to {len(image_set.classes) - 1 + first}; out of range: {listing(wrong)}: "
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


def check_classes(title: str, image_set: ImageSet, *, allow_partial: bool) -> None:
    """Refuse classes without images: where numbers are the classes, one label out of place makes many of them.

    Args:
        title: Name of the data set and where it was read, for messages.
        image_set: What was found.
        allow_partial: Warn instead of raising, but for a split without any images.

    Raises:
        DataError: A class has no images in a split.
    """
    spellings: dict[str, list[str]] = {}
    for name in image_set.classes:
        spellings.setdefault(loosely(name), []).append(name)
    alike = [" and ".join(map(repr, names)) for names in spellings.values() if len(names) > 1]
    if alike:
        log.warning("%s has classes whose names are the same but for case or blanks: %s", title, listing(alike))
    if len(image_set.classes) == 1:
        log.warning("%s has one class alone, %s: every answer will be right", title, printable(image_set.classes[0]))
    for split in SPLITS:
        samples = image_set.split(split)
        if not samples:
            raise DataError(
                f"{title} needs {split!r} images of the classes that are kept; it has none of {listing(image_set.classes)}: "
                "add some, or name other classes by data.classes"
            )
        labels = {label for _, label in samples}
        without = [name for label, name in enumerate(image_set.classes) if label not in labels]
        if without:
            name, label = max(samples, key=lambda sample: sample[1])
            report_partial(
                f"{title} has {split!r} images of {len(labels):,} of its {len(image_set.classes):,} classes, none of "
                f"{listing(without)}; the highest label, {label + image_set.first_label}, is that of {printable(name)}",
                "add images of each class, or mend the label that is out of place",
                allow_partial=allow_partial,
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
    first = image_set.first_label
    beyond = [f"{name} (class {label + first})" for name, label in image_set.train + image_set.val if label >= expected.classes]
    if beyond:
        raise DataError(
            f"{title} needs labels from {first} to {expected.classes - 1 + first}; {len(image_set.classes):,} classes are "
            f"there, and beyond the range are {listing(beyond)}: {advice}"
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
