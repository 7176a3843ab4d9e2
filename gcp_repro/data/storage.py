"""Where the bytes of images are: one interface for folders and archives, so that layouts need not care."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from gcp_repro.data.reader import UnreadableImageError
from gcp_repro.errors import DataError
from gcp_repro.stand_ins import stand_in_at
from gcp_repro.user_paths import printable

__all__ = ["IMAGE_SUFFIXES", "FolderStorage", "Storage", "entries_of", "is_image_name", "is_set_aside"]

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".avif", ".heic", ".heif", ".tif", ".tiff", ".bmp", ".dib",
    ".gif", ".pbm", ".pgm", ".ppm", ".pnm", ".jp2", ".j2k", ".tga",
)  # fmt: skip
NOTES = (".txt", ".csv", ".tsv", ".json", ".xml", ".md", ".mat", ".html", ".db", ".ini", ".yaml", ".tar", ".zip")
HOUSEKEEPING = frozenset(
    {
        "@eadir",
        "@tmp",
        "#recycle",
        "#snapshot",
        "$recycle.bin",
        "system volume information",
        "lost+found",
        "__macosx",
        "__pycache__",
    }
)
"""Folders that file servers and unpackers leave among a user's own, with thumbnails and remains in them; in lower case."""


def is_image_name(name: str) -> bool:
    """Whether a file's name promises an image; hidden files such as macOS's `._001.jpg` do not.

    Args:
        name: The file's name, with the folders it lies in where they are known.

    Example:
        >>> [is_image_name(name) for name in ("n01/n01_1.JPEG", "._001.jpg", "readme.txt", "n01/@eaDir/n01_1.JPEG")]
        [True, False, False, False]
    """
    return name.lower().endswith(IMAGE_SUFFIXES) and not any(map(is_set_aside, name.split("/")))


def is_set_aside(name: str) -> bool:
    """Whether a file or folder is hidden or left by the machine, so that it is no part of a data set."""
    return (name.startswith(".") and name not in (".", "..")) or name.lower() in HOUSEKEEPING


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
    """Images in ordinary files below a root.

    Args:
        root: The folder.

    Attributes:
        left_out: Names of the files that `names` met and did not take for images, notes and archives aside, and of images that
            lie in no class folder.
        links: Names of the images that `names` met as links; emptied once they are checked.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._place = str(root)
        self.left_out: list[str] = []
        self.links: set[str] = set()

    def names(self, folder: str) -> list[str]:
        """See `Storage`; folders are searched at any depth, links are followed (but not to a folder above)."""
        return sorted(self._images_below(folder))

    def _images_below(self, folder: str, linked_from: tuple[Path, ...] = ()) -> Iterator[str]:
        for entry in entries_of(self.root / folder):
            name = f"{folder}/{entry.name}" if folder else entry.name
            if _is_folder(entry):
                above = (*linked_from, Path(entry.path).parent.resolve()) if entry.is_symlink() else linked_from
                inside = [] if _leads_up(entry, above) else list(self._images_below(name, above))
                yield from inside or ([name] if is_image_name(entry.name) else [])  # a folder in an image's place is missed later
            elif is_image_name(entry.name):
                if entry.is_symlink():
                    self.links.add(name)
                yield name
            elif not is_set_aside(entry.name) and not entry.name.lower().endswith(NOTES):
                self.left_out.append(name)

    def file_of(self, name: str) -> str:
        """The file that an image is, where its name is a link that leads to it."""
        path = os.path.join(self._place, name)  # noqa: PTH118 - once an image
        if name in self.links:
            path = os.path.join(os.path.dirname(path), os.readlink(path))  # noqa: PTH115, PTH118, PTH120
        return os.path.abspath(path)  # noqa: PTH100

    def look_beside_classes(self, folder: str) -> None:
        """Note the images that lie in a folder of class folders, and in none of these.

        Raises:
            DataError: A class folder is a link that leads nowhere.
        """
        for entry in sorted(entries_of(self.root / folder), key=lambda entry: entry.name):
            if is_image_name(entry.name) and _is_file(entry):
                self.left_out.append(f"{folder}/{entry.name}")
            elif not is_set_aside(entry.name) and not entry.name.lower().endswith(NOTES) and _leads_nowhere(entry):
                raise DataError(
                    f"a class folder is needed at {printable(entry.path)}; it is {stand_in_at(Path(entry.path))}: bring back "
                    "what it leads to, or remove the link"
                )

    def folders(self, folder: str) -> list[str]:
        """See `Storage`."""
        return sorted(entry.name for entry in entries_of(self.root / folder) if _is_folder(entry))

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of the names that are no files; each folder is listed once instead of asking for each file."""
        present: dict[str, set[str]] = {}
        absent = []
        for name in names:
            folder, _, file = name.rpartition("/")
            if folder not in present:
                present[folder] = {entry.name for entry in entries_of(self.root / folder) if _is_file(entry)}
            if file not in present[folder]:
                absent.append(name)
        return absent

    def read(self, name: str) -> bytes:
        """See `Storage`."""
        try:
            with open(os.path.join(self._place, name), "rb", buffering=0) as file:  # noqa: PTH118, PTH123 - once an image
                return file.read()
        except OSError as error:
            raise UnreadableImageError(
                f"a readable file is needed; {self.locate(name)} cannot be read ({error.strerror}): it may have vanished "
                "since the start or its rights have changed; restore it, or set data.on_error=skip"
            ) from error

    def locate(self, name: str) -> str:
        """See `Storage`."""
        return printable(os.path.join(self._place, name))  # noqa: PTH118 - once an image


def entries_of(folder: Path) -> list[os.DirEntry[str]]:
    """What lies in a folder; `[]` where it does not exist.

    Raises:
        DataError: It cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"a folder that can be listed is needed; {folder} cannot be ({error.strerror}): change its rights, or check the disk"
        ) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return not is_set_aside(entry.name) and not _leads_to_itself(entry) and entry.is_dir()


def _is_file(entry: os.DirEntry[str]) -> bool:
    return not _leads_to_itself(entry) and entry.is_file()


def _leads_to_itself(entry: os.DirEntry[str]) -> bool:
    try:
        entry.stat()
    except OSError as error:
        return error.errno == errno.ELOOP
    return False


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    return entry.is_symlink() and not _leads_to_itself(entry) and not Path(entry.path).exists()


def _leads_up(entry: os.DirEntry[str], above: tuple[Path, ...]) -> bool:
    """Whether a link leads to a folder that it lies in, by way of other links too, so that following it would never end."""
    if not entry.is_symlink():
        return False
    target = Path(entry.path).resolve()
    return any(target in folder.joinpath("x").parents for folder in above)
