"""What a user decides about opening a data set on disk, whatever its form."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from gcp_repro.errors import OptionError
from gcp_repro.user_paths import user_path

__all__ = ["COLUMNS", "OpenOptions", "refuse_unread"]

COLUMNS = ("path_column", "label_column", "split_column")


@dataclass(frozen=True)
class OpenOptions:
    """What a user decides about opening a data set.

    Args:
        allow_partial: Warn about missing images and unexpected counts instead of raising.
        index_dir: Where indices of archives are kept; beside them if None.
        train_split: What the training images are called, relative to the root: folders of class folders, list files, tables
            or shards, or the word in the names of these two. The usual names if empty.
        val_split: The same of the evaluation images.
        path_column: Column of a list or table that holds the images or their paths; the usual names if None.
        label_column: The same of the labels, or the key in the `.json` files of shards.
        split_column: Column of a list that tells evaluation images from the others, where both are in one file.
    """

    allow_partial: bool = False
    index_dir: Path | None = None
    train_split: tuple[str, ...] = ()
    val_split: tuple[str, ...] = ()
    path_column: str | None = None
    label_column: str | None = None
    split_column: str | None = None

    def __post_init__(self) -> None:
        for split in ("train_split", "val_split"):  # one spelling of each, or `train` and `./train` would be two sets of images
            object.__setattr__(self, split, tuple(os.path.normpath(user_path(name)) for name in getattr(self, split) if name))


def refuse_unread(options: OpenOptions, read: Collection[str], source: object) -> None:
    """Refuse columns that are named where nothing has such columns.

    Args:
        options: What the user decided.
        read: Those of `COLUMNS` that the form of the data set has.
        source: Where it lies, for messages.

    Raises:
        OptionError: Another one is named.
    """
    unread = [name for name in COLUMNS if getattr(options, name) is not None and name not in read]
    if unread:
        raise OptionError(
            f"data.{unread[0]} needs a form with such a column; {source} is read without: name a list by data.train_split and "
            f"data.val_split, choose another data.layout, or leave data.{unread[0]} out"
        )
