"""Labels as files have them, numbers or names, made into positions in a list of classes."""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal

from gcp_repro.data.image_set import listing
from gcp_repro.errors import DataError

__all__ = ["are_numbers", "number_classes", "number_labels"]

log = logging.getLogger(__name__)

Label = str | int | float
NUMBER = re.compile(r"\s*[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,2})?\s*")
MOST_CLASSES = 1_000_000  # what counts images, not classes, goes beyond


def whole(label: object) -> int | None:
    """The whole number that a label is, however it is written; None where it is none.

    Tables with holes make `1.0` of 1, and numpy's text files `1.000e+00`.

    Example:
        >>> [whole(label) for label in (3, "3", "03", " 3", "3.0", "3.00e+00", 3.0, "3.5", "three", True)]
        [3, 3, 3, 3, 3, 3, 3, None, None, None]
    """
    if isinstance(label, bool) or not isinstance(label, str | int | float):
        return None
    if isinstance(label, int):
        return label
    if isinstance(label, float):
        return int(label) if label.is_integer() else None
    number = Decimal(label.strip()) if NUMBER.fullmatch(label) else None
    return int(number) if number is not None and number == number.to_integral_value() else None


def are_numbers(labels: Iterable[object]) -> bool:
    """Whether all labels are whole numbers, as numbers or as text."""
    return all(whole(label) is not None for label in labels)


def number_classes(
    train: Sequence[Label], val: Sequence[Label], source: str, names: Sequence[str] = (), *, published: int | None = None
) -> tuple[tuple[str, ...], int]:
    """The classes of two splits, and the label of the first of them.

    Names are sorted. Numbers count from 0, or from 1 where no label is 0 and there is reason to think so: nothing is known of the
    set, or its highest label is the number of its classes.

    Args:
        train: Labels of the training images.
        val: Labels of the evaluation images.
        source: Where they were read, for messages.
        names: Names of numbered classes in the order of their numbers; the numbers themselves if empty.
        published: How many classes the set is known to have.

    Raises:
        DataError: A label is neither a whole number nor a name, or empty; or a number is below 0 or no class's, as where there
            are fewer names.
    """
    wrong = [label for label in (*train, *val) if label == "" or not (isinstance(label, str) or whole(label) is not None)]
    if wrong:
        raise DataError(
            f"{source} needs a whole number or a name as each label; it holds {wrong[0]!r}: name another column by "
            "data.label_column, or mend the file"
        )
    both = {*train, *val}
    if not are_numbers(both):
        others = sorted({str(label) for label in both if whole(label) is None})
        if len(others) < len(both):
            log.warning("%s has labels that are whole numbers and others, %s: all are taken for names", source, listing(others))
        return tuple(sorted(set(map(str, train)))), 0
    numbers = {number for label in both if (number := whole(label)) is not None}
    highest, lowest = max(numbers, default=-1), min(numbers, default=0)
    if lowest < 0:
        raise DataError(
            f"{source} needs labels from 0; it holds {lowest}: tables mark images whose labels are kept secret so; name a split "
            "with labels by data.train_split and data.val_split"
        )
    if highest >= MOST_CLASSES:
        raise DataError(
            f"{source} needs labels below {MOST_CLASSES:,}; it holds {highest}: write names, number the classes from 0 to one "
            "less than there are, or name another column by data.label_column"
        )
    if names:
        first = int(lowest > 0 and highest == len(names))
        if highest >= len(names) + first:
            raise DataError(
                f"{source} needs labels from 0 to {len(names) - 1}, which have names; it holds {highest}: mend it, or name it"
            )
        return tuple(names), first
    first = int(lowest == 1 and published in (None, highest))
    return tuple(map(str, range(first, highest + 1))), first


def number_labels(
    labels: Sequence[Label], classes: Sequence[str], first: int, source: str, *, ordered: bool = False
) -> list[int]:
    """Positions of labels in the classes.

    Args:
        labels: Names or numbers.
        classes: Names or numbers of all classes.
        first: What a number counts from.
        source: Where the labels were read, for messages.
        ordered: Named classes have an order that their data set's numbers count, as class folders or a table's names have.

    Raises:
        DataError: A label that is no class, a number beyond them, or two numbers that differ in leading zeros alone.
    """
    positions = {name: position for position, name in enumerate(classes)}
    texts: dict[Label, str] = {label: str(label) for label in labels}
    unknown = sorted(set(texts.values()) - positions.keys())
    if unknown and are_numbers(texts) and (ordered or are_numbers(classes)):
        positions = {str(first + position): position for position in range(len(classes))}
        _check_spellings({text.strip() for text in texts.values()}, source)
        texts = {label: str(whole(label)) for label in texts}
        unknown = sorted(text for text in texts.values() if text not in positions)
    if unknown:
        raise DataError(
            f"{source} needs the {len(classes)} classes of the training images; it also has {listing(unknown)}: mend the list, "
            "or add training images of that class"
        )
    return [positions[texts[label]] for label in labels]


def _check_spellings(labels: Collection[str], source: str) -> None:
    """Refuse names such as `007` and `7`, which as numbers would be one class."""
    digits = [label for label in labels if label.isdecimal()]
    numbers = Counter(map(int, digits))
    twice = sorted(label for label in digits if numbers[int(label)] > 1)
    if twice:
        raise DataError(
            f"{source} needs one spelling of each number; it has {listing(twice)}: write one of them throughout, or names that "
            "are no numbers where they are classes of their own"
        )
