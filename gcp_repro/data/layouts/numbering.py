"""Labels as files have them, numbers or names, made into positions in a list of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gcp_repro.data.image_set import listing
from gcp_repro.data.layouts.files import whole_number
from gcp_repro.errors import DataError

__all__ = ["are_numbers", "number_classes", "number_labels"]

Label = str | int


def are_numbers(labels: Iterable[Label]) -> bool:
    """Whether all labels are whole numbers, as numbers or as text."""
    return all(isinstance(label, int) or label.lstrip("-").isdecimal() for label in labels)


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
        DataError: A label is neither a number nor a name, or empty.
    """
    wrong = [label for label in (*train, *val) if not isinstance(label, str | int) or isinstance(label, bool) or label == ""]
    if wrong:
        raise DataError(
            f"{source} needs a whole number or a name as each label; it holds {wrong[0]!r}: name another column by "
            "data.label_column, or mend the file"
        )
    both = {*train, *val}
    if not are_numbers(both):
        return tuple(sorted(set(map(str, train)))), 0
    numbers = {whole_number(label, source) for label in both}
    highest, lowest = max(numbers, default=-1), min(numbers, default=0)
    if lowest < 0:
        raise DataError(
            f"{source} needs labels from 0; it holds {lowest}: tables mark images whose labels are kept secret so; name a split "
            "with labels by data.train_split and data.val_split"
        )
    first = int(lowest == 1 and not names and published in (None, highest))
    if highest < len(names):
        return tuple(names), 0
    return tuple(map(str, range(first, highest + 1))), first


def number_labels(labels: Sequence[Label], classes: Sequence[str], first: int, source: str) -> list[int]:
    """Positions of labels in the classes; a number counts from `first`, whatever the classes are called.

    Raises:
        DataError: A label that is no class, or a number beyond them.
    """
    positions = {name: position for position, name in enumerate(classes)}
    unknown = sorted({str(label) for label in labels} - positions.keys())
    if unknown and are_numbers(unknown) and are_numbers(set(labels)):
        positions = {str(first + position): position for position in range(len(classes))}
        unknown = sorted({str(label) for label in labels} - positions.keys())
    if unknown:
        raise DataError(
            f"{source} needs the {len(classes)} classes of the training images; it also has {listing(unknown)}: mend the list, "
            "or "
            "add training images of that class"
        )
    return [positions[str(label)] for label in labels]
