"""Files that are either the old ones or the new ones, whatever happens in between, and that survive a power cut."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import secrets
import shutil
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gcp_repro.errors import OptionError, StorageError

__all__ = [
    "Row",
    "json_line",
    "previous_of",
    "read_json",
    "refuse_unwritable",
    "replacing",
    "require_space",
    "set_aside",
    "sweep_temporaries",
    "write_atomically",
    "write_csv",
    "write_json",
]

Row = dict[str, float | int | str]

TEMPORARY = ".tmp"
SPARE_BYTES = 2**20


@contextmanager
def replacing(path: Path, *, keep_previous: bool = False) -> Iterator[Path]:
    """A temporary file beside `path` to write to, which takes its place when the block ends without an error.

    The name carries host, process and a random part, so that writers cannot meet; the content reaches the disk before the name
    does (`fsync` of file and folder). If anything fails the old file is left as it was.

    Args:
        path: The file; its folder must exist: one that has vanished is no place to write to.
        keep_previous: Leave the file that was there under the name `previous_of(path)`.

    Raises:
        StorageError: The disk is full, read-only, gone, ... "writing runs/x/result.json failed (No space left on device): ..."
    """
    temporary = path.with_name(f".{path.name}.{socket.gethostname()}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY}")
    try:
        try:
            yield temporary
            _sync(temporary)
            if keep_previous and path.exists():
                path.replace(previous_of(path))
            temporary.replace(path)
            _sync(path.parent)
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(path, error) from error


def previous_of(path: Path) -> Path:
    """Name of the file that stood at `path` before the present one.

    Example:
        >>> previous_of(Path("last.ckpt")).name
        'previous-last.ckpt'
    """
    return path.with_name(f"previous-{path.name}")


def write_atomically(path: Path, text: str) -> None:
    """Write a text file by `replacing`."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a mapping as indented JSON by `replacing`; numbers that are not finite become null, for JSON has none."""
    write_atomically(path, json.dumps(_finite(content), indent=2, allow_nan=False) + "\n")


def json_line(content: Mapping[str, Any]) -> str:
    """A mapping as JSON in one line; numbers that are not finite become null.

    Example:
        >>> json_line({"epoch": 3, "train/loss": math.inf})
        '{"epoch": 3, "train/loss": null}'
    """
    return json.dumps(_finite(content), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ValueError: It is no JSON, or no object. "needs an object; got list"
        OSError: It cannot be read.
    """
    content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    if not isinstance(content, dict):
        raise ValueError(f"needs an object; got {type(content).__name__}")
    return content


def _refuse_constant(name: str) -> float:
    raise ValueError(f"JSON has no {name}")


def refuse_unwritable(option: str, path: Path) -> None:
    """Look, before any work, whether a file can be written.

    Args:
        option: Takes the file's name; for messages.
        path: The file; folders above it may be missing.

    Raises:
        OptionError: A folder is in its place, or it would lie in none, or in one without rights.
    """
    if path.is_dir():
        raise OptionError(f"{option} needs a file to write to; {path} is a folder: name a file in it")
    place = next(folder for folder in path.absolute().parents if folder.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        found = "cannot be written to" if place.is_dir() else "is no folder"
        raise OptionError(f"{option} needs a folder to write to; {place} {found}: name another file than {path}")


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows by `replacing`; the columns are those of all rows in order of appearance, and a missing value is empty."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that another can take its name; returns the new name, as in `last.ckpt.damaged`."""
    names = (f"{path.name}.damaged{number}" for number in ("", *map(str, range(2, 1000))))
    target = next(path.with_name(name) for name in names if not path.with_name(name).exists())
    try:
        path.replace(target)
    except OSError as error:
        raise StorageError(path, error) from error
    return target


def sweep_temporaries(folder: Path) -> None:
    """Delete what writers that were killed have left; only for who holds the folder's lock."""
    for path in folder.glob(f".*{TEMPORARY}"):
        with suppress(OSError):
            path.unlink()


def require_space(folder: Path, size: int) -> None:
    """Refuse to go on where a folder's disk has no room.

    Args:
        folder: Need not exist.
        size: Bytes that are about to be written.

    Raises:
        StorageError: "writing to runs needs 93.1 MB; 12.0 MB are free: ..."
    """
    existing = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < size + SPARE_BYTES:
        raise StorageError(folder, f"needs {size / 1e6:,.1f} MB, {free / 1e6:,.1f} MB are free")


def _sync(path: Path) -> None:
    """Wait until a file or folder is on the disk; folders of some file systems cannot be asked."""
    flags = os.O_RDONLY if path.is_dir() else os.O_RDWR
    try:
        descriptor = os.open(path, flags)
    except PermissionError:  # folders on Windows
        return
    try:
        os.fsync(descriptor)
    except OSError:
        if not path.is_dir():
            raise
    finally:
        os.close(descriptor)
