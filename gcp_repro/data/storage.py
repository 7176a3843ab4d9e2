"""Where the bytes of images are: one interface for folders and archives, so that layouts need not care."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from gcp_repro.data.reader import UnreadableImageError

__all__ = ["IMAGE_SUFFIXES", "FolderStorage", "Storage", "is_image_name"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp")


def is_image_name(name: str) -> bool:
    """Whether a file's name promises an image; hidden files such as macOS's `._001.jpg` do not.

    Example:
        >>> [is_image_name(name) for name in ("n01440764_1.JPEG", "._001.jpg", "readme.txt")]
        [True, False, False]
    """
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.startswith(".")


class Storage(Protocol):
    """Encoded images by name; names use `/`, relative to a root, as in `train/n01440764/n01440764_18.JPEG`."""

    def names(self, folder: str) -> list[str]:
        """Names of the images below a folder, sorted; `[]` where it does not exist."""
        ...

    def folders(self, folder: str) -> list[str]:
        """Names (the last part) of the folders in a folder, sorted, hidden ones left out."""
        ...

    def read(self, name: str) -> bytes:
        """The whole encoded image.

        Raises:
            UnreadableImageError: The file vanished or cannot be read.
        """
        ...

    def locate(self, name: str) -> str:
        """Where the image is, in words that help a user to find it."""
        ...


class FolderStorage:
    """Images in ordinary files below a root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def names(self, folder: str) -> list[str]:
        """See `Storage`; folders are searched at any depth, links are followed."""
        found = []
        for parent, subfolders, files in os.walk(self.root / folder, followlinks=True):
            subfolders[:] = [name for name in subfolders if not name.startswith(".")]
            prefix = Path(parent).relative_to(self.root).as_posix()
            prefix = "" if prefix == "." else f"{prefix}/"
            found += [f"{prefix}{name}" for name in files if is_image_name(name)]
        return sorted(found)

    def folders(self, folder: str) -> list[str]:
        """See `Storage`."""
        path = self.root / folder
        if not path.is_dir():
            return []
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are no files; each folder is listed once instead of asking for each file."""
        present: dict[str, set[str]] = {}
        absent = []
        for name in names:
            folder, _, file = name.rpartition("/")
            if folder not in present:
                path = self.root / folder
                present[folder] = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
            if file not in present[folder]:
                absent.append(name)
        return absent

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        try:
            return (self.root / name).read_bytes()
        except OSError as error:
            raise UnreadableImageError(
                f"a readable file is needed; {self.locate(name)} cannot be read ({error.strerror}): it may have vanished "
                "since the start or its rights have changed; restore it, or set data.on_error=skip"
            ) from error

    def locate(self, name: str) -> str:
        """See `Storage`."""
        return str(self.root / name)
