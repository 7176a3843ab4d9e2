"""A part of an image set: some of its classes, a share of its training images."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from omegaconf import OmegaConf

from gcp_repro.data.image_set import ImageSet, Samples, listing, one_form
from gcp_repro.data.layouts.files import lines_of
from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.stand_ins import LOOKED_AT, stand_in, stand_in_at
from gcp_repro.user_paths import user_path

__all__ = ["class_names", "select_subset"]


WNID_AND_WORDS = re.compile(r"n\d{8}\s")  # ImageNet's lists say what each class is


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
        lines = lines_of(content)
        found = stand_in(content[:LOOKED_AT])
    except (OSError, UnicodeDecodeError) as error:
        found = stand_in_at(user_path(classes)) or str(error)
    if found:
        raise OptionError(
            f"data.classes needs a file with a name in each line; {classes!r} cannot be read ({found}): name another, or write "
            "several names as a list, as in data.classes=[a,b]"
        )
    names = [line.partition("\t")[0].strip() for line in lines]
    return class_names([name.split()[0] if WNID_AND_WORDS.match(name) else name for name in names])


def _chosen_classes(known: Sequence[str], classes: int | str | Sequence[object], seed: int) -> list[int]:
    names = class_names(classes)
    if names is not None:
        forms = [one_form(text) for text in known]
        return sorted({_position(name, known, forms) for name in names})
    if not isinstance(classes, int) or not 1 <= classes <= len(known):
        raise OptionError(f"data.classes needs 1 to {len(known)} classes; got {classes}: choose another number")
    return sorted(np.random.default_rng(seed).permutation(len(known))[:classes].tolist())


def _position(name: object, known: Sequence[str], forms: Sequence[str]) -> int:
    """Where a class is; a name that YAML has made a number or truth value is found by what it makes of the known ones.

    Args:
        name: As it was given.
        known: Names of all classes.
        forms: The same in the one form that Unicode has for each.
    """
    if isinstance(name, str):
        if one_form(name) not in forms:
            raise UnknownNameError("class", name, known)
        if forms.count(one_form(name)) > 1:
            raise OptionError(f"data.classes needs names of one class each; several are called {name!r}: rename them")
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
