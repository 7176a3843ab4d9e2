"""What a user decides about opening a data set on disk, whatever its form."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["OpenOptions"]


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
