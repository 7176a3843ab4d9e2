"""What a data set consists of according to its own files, and the checks that every layout shares."""

from __future__ import annotations

import contextlib
import logging
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from omegaconf import OmegaConf

from gcp_repro.data.storage import Storage, printable
from gcp_repro.errors import DataError, OptionError, UnknownNameError
from gcp_repro.stand_ins import LOOKED_AT, stand_in, stand_in_at
from gcp_repro.user_paths import user_path

__all__ = [
    "SPLITS",
    "Expected",
    "ImageSet",
    "Samples",
    "Split",
    "check_classes",
    "check_counts",
    "check_labels",
    "class_names",
    "listing",
    "loosely",
    "one_form",
    "select_subset",
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
        log.warning("%s has classes whose names differ in case or blanks alone: %s", title, listing(alike))
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


def select_subset(
    image_set: ImageSet, *, classes: int | str | Sequence[object] | None = None, fraction: float = 1.0, seed: int = 0
) -> ImageSet:
    """A part of a data set, the same one for the same seed.

    Args:
        image_set: The whole.
        classes: Names to keep, a file of such names (one a line), or how many to draw; they are numbered anew in their old
            order. A name may come as what YAML makes of it, a number or a truth value. None keeps all.
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


def class_names(classes: int | str | Sequence[object] | None) -> Sequence[object] | None:
    """The names that `data.classes` stands for; None where it is a number of classes or nothing.

    Raises:
        OptionError: A truth value, an empty list, or a file that is none or holds no names.
    """
    if isinstance(classes, bool) or (not isinstance(classes, int | str) and classes is not None and not list(classes)):
        raise OptionError(
            f"data.classes needs a number, names or a file of names; got {classes!r}: name some, say how many, or set it to null"
        )
    if not isinstance(classes, str):
        return None if classes is None or isinstance(classes, int) else classes
    try:
        content = user_path(classes).read_bytes()  # once, as it may be a pipe
        lines = content.decode("utf-8-sig").splitlines()  # Windows editors put a mark at the start
        found = stand_in(content[:LOOKED_AT])
    except (OSError, UnicodeDecodeError) as error:
        found = stand_in_at(user_path(classes)) or str(error)
    if found:
        raise OptionError(
            f"data.classes needs a file with a name in each line; {classes!r} cannot be read ({found}): name another, or write "
            "several names as a list, as in data.classes=[a,b]"
        )
    return class_names([line.split(maxsplit=1)[0] for line in lines if line.strip()])


def _chosen_classes(known: Sequence[str], classes: int | str | Sequence[object], seed: int) -> list[int]:
    names = class_names(classes)
    if names is not None:
        return sorted({_position(name, known) for name in names})
    if not isinstance(classes, int) or not 1 <= classes <= len(known):
        raise OptionError(f"data.classes needs 1 to {len(known)} classes; got {classes}: choose another number")
    return sorted(np.random.default_rng(seed).permutation(len(known))[:classes].tolist())


def _position(name: object, known: Sequence[str]) -> int:
    """Where a class is; a name that YAML has made a number or truth value is found by what it makes of the known ones."""
    if isinstance(name, str):
        forms = [one_form(text) for text in known]
        if one_form(name) not in forms:
            raise UnknownNameError("class", name, known)
        return forms.index(one_form(name))
    same = [position for position, text in enumerate(known) if type(value := _as_yaml(text)) is type(name) and value == name]
    if len(same) > 1:
        raise OptionError(
            f"data.classes needs names of one class each; {name!r} may be {listing([known[position] for position in same])}: "
            "put it in quotes"
        )
    if not same:
        raise UnknownNameError("class", name, known)
    return same[0]


def _as_yaml(text: str) -> object:
    """What the configuration makes of a name without quotes."""
    with contextlib.suppress(Exception):  # a name that is no YAML is no number either
        return OmegaConf.from_dotlist([f"name={text}"]).name
    return text


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
