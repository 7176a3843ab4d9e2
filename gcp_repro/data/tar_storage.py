"""Images read in place from tar archives, by an index that is made once."""

from __future__ import annotations

import hashlib
import logging
import os
import tarfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

import numpy as np

from gcp_repro.data.image_set import listing
from gcp_repro.data.reader import UnreadableImageError
from gcp_repro.data.storage import is_image_name
from gcp_repro.errors import DataError
from gcp_repro.stand_ins import refuse_stand_in
from gcp_repro.user_paths import printable

__all__ = ["TarMember", "TarStorage", "index_tar", "read_at"]

log = logging.getLogger(__name__)

COMPRESSIONS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"PK": "zip"}
INDEX_VERSION = 3  # 1 did not ask for the blocks that end an archive, 2 left links to other members out


class TarMember(NamedTuple):
    """One file of an archive: its name and where its bytes lie in the archive."""

    name: str
    offset: int
    size: int


def index_tar(path: Path, index_dir: Path | None = None) -> list[TarMember]:
    """All files of an archive, those of archives inside it included, in the archive's order.

    A file of an inner archive `n01440764.tar` is named `n01440764/<name>`. The index is kept as
    `<archive>.index.npz`, and made anew when the archive's size or time changes.

    Args:
        path: An uncompressed tar file.
        index_dir: Where indices are kept; beside the archive if None. A folder that cannot be written
            costs a scan at every start, nothing else.

    Raises:
        DataError: The archive is missing, truncated or compressed, or names files outside its folder.
    """
    refuse_stand_in(path)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
    except OSError as error:
        raise DataError(f"an archive is needed at {path}; it cannot be opened ({error.strerror}): check data.root") from error
    stamp = np.array([INDEX_VERSION, status.st_size, status.st_mtime_ns])
    cache = _cache_path(path, index_dir)
    saved = _saved(cache, stamp)
    if saved is not None:
        return saved
    log.info("indexing %s (once; %.1f GB)", path, status.st_size / 1e9)
    members = _scan(path, status.st_size)
    _save(cache, members, stamp)
    return members


def _saved(cache: Path, stamp: np.ndarray) -> list[TarMember] | None:
    """The index of an earlier run, or None where there is none of this archive."""
    if not cache.exists():
        return None
    try:
        with np.load(cache) as saved:
            if not np.array_equal(saved["stamp"], stamp):
                return None
            rows = zip(saved["names"].tolist(), saved["offsets"].tolist(), saved["sizes"].tolist(), strict=True)
            return [TarMember(os.fsdecode(name), offset, size) for name, offset, size in rows]
    except Exception as error:  # numpy raises what the damaged file makes it raise
        log.warning("the index %s is damaged (%s); it is made anew", cache, error)
        return None


def _scan(path: Path, archive_size: int) -> list[TarMember]:
    try:
        with path.open("rb") as file:
            members = list(_members(file))
    except tarfile.TarError as error:
        compression = _compression(path)
        reason = f"it is compressed by {compression}" if compression else error
        remedy = "decompress it" if compression else "compare its md5 and fetch it again"
        raise DataError(f"a whole, uncompressed tar archive is needed; {path} is none ({reason}): {remedy}") from error
    if members and (end := members[-1].offset + members[-1].size) > archive_size:
        raise DataError(
            f"{path} is cut off: {members[-1].name} ends at byte {end:,} of {archive_size:,}: fetch the archive again"
        )
    outside = [member.name for member in members if member.name.startswith("/") or ".." in member.name.split("/")]
    if outside:
        raise DataError(
            f"an archive whose files stay in its folder is needed; {path} also has {listing(outside)}: it is no archive of a "
            "data set's distributors; fetch it from them"
        )
    return members


def _compression(path: Path) -> str:
    """What a file is compressed by; "" where it is not."""
    with path.open("rb") as file:
        start = file.read(6)
    return next((name for magic, name in COMPRESSIONS.items() if start.startswith(magic)), "")


def _members(file: IO[bytes], prefix: str = "", start: int = 0) -> Iterator[TarMember]:
    """Files of the archive that `file` holds; `start` is where that archive begins in the outermost one."""
    places: dict[str, tuple[int, int]] = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            if member.islnk() and member.linkname in places:  # a second name of a file, as in a tree without duplicates
                yield TarMember(prefix + member.name.removeprefix("./"), *places[member.linkname])
            elif member.isfile():
                inner = archive.extractfile(member) if member.name.endswith(".tar") else None
                name = prefix + member.name.removeprefix("./")
                if inner is not None:
                    yield from _members(inner, f"{name.removesuffix('.tar')}/", start + member.offset_data)
                else:
                    places[member.name] = (start + member.offset_data, member.size)
                    yield TarMember(name, *places[member.name])
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every header otherwise
        file.seek(archive.offset)  # type: ignore[attr-defined]  # where tarfile found no more members
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError(f"{f'its {prefix}: ' if prefix else ''}the blocks that end an archive are missing")


def _cache_path(path: Path, index_dir: Path | None) -> Path:
    if index_dir is None:
        return path.with_name(f"{path.name}.index.npz")
    place = hashlib.sha256(os.fsencode(path.resolve().parent)).hexdigest()[:12]  # archives of one name in many folders
    return index_dir / f"{place}-{path.name}.index.npz"


def _save(cache: Path, members: Sequence[TarMember], stamp: np.ndarray) -> None:
    """Write the index in one step, so that processes that start together never read half of it."""
    unfinished = cache.with_name(f".{cache.stem}.{os.getpid()}.npz")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        np.savez(
            unfinished,
            stamp=stamp,
            names=np.array([os.fsencode(member.name) for member in members]),
            offsets=np.array([member.offset for member in members], dtype=np.int64),
            sizes=np.array([member.size for member in members], dtype=np.int64),
        )
        unfinished.replace(cache)
    except OSError as error:
        log.warning(
            "the index of an archive cannot be kept at %s (%s); it will be made anew at every start", cache, error.strerror
        )


_position = threading.Lock()  # of open files, where reading at an offset moves it


def read_at(file: BinaryIO, size: int, offset: int) -> bytes:
    """Bytes at an offset; threads, and processes that were forked, can read from one open file side by side."""
    if hasattr(os, "pread"):
        return os.pread(file.fileno(), size, offset)
    with _position:  # Windows, where nothing forks
        file.seek(offset)
        return file.read(size)


class TarStorage:
    """Images inside tar archives; a name is `<prefix>/<name in the archive>`.

    Args:
        archives: Archive of each prefix.
        index_dir: See `index_tar`.

    Raises:
        DataError: See `index_tar`.
    """

    def __init__(self, archives: dict[str, Path], index_dir: Path | None = None) -> None:
        self._files: dict[int, BinaryIO] = {}
        self._archives = list(archives.values())
        rows = sorted(
            (f"{prefix}/{member.name}", number, member.offset, member.size)
            for number, (prefix, path) in enumerate(archives.items())
            for member in index_tar(path, index_dir)
            if is_image_name(member.name)
        )
        names, numbers, offsets, sizes = zip(*rows, strict=True) if rows else ((), (), (), ())
        self._names = np.array([os.fsencode(name) for name in names], dtype=np.bytes_)  # arrays: workers share their memory
        self._place = np.array([numbers, offsets, sizes], dtype=np.int64)

    def names(self, folder: str) -> list[str]:
        """See `Storage`."""
        first, last = np.searchsorted(self._names, [os.fsencode(f"{folder}/"), os.fsencode(f"{folder}0")])  # "0" follows "/"
        return [os.fsdecode(name) for name in self._names[first:last].tolist()]

    def folders(self, folder: str) -> list[str]:
        """See `Storage`."""
        depth = folder.count("/") + 1
        return sorted({parts[depth] for name in self.names(folder) if len(parts := name.split("/")) > depth + 1})

    def read(self, name: str) -> bytes:
        """See `Storage`; reads at an offset, so that workers forked from one process can share the open file."""
        row = int(np.searchsorted(self._names, os.fsencode(name)))
        number, offset, size = self._place[:, row].tolist()
        try:
            data = read_at(self._file(number), size, offset)
        except OSError as error:
            raise UnreadableImageError(
                f"a readable archive is needed; {self.locate(name)} cannot be read ({error.strerror}): restore the file"
            ) from error
        if len(data) < size:
            raise UnreadableImageError(
                f"{self.locate(name)} needs {size} bytes; the archive ends after {len(data)}: fetch it again"
            )
        return data

    def locate(self, name: str) -> str:
        """See `Storage`."""
        row = int(np.searchsorted(self._names, os.fsencode(name)))
        if row < len(self._names) and self._names[row] == os.fsencode(name):
            return f"{self._archives[int(self._place[0, row])]}: {printable(name)}"
        return f"{printable(name)} in {', '.join(map(str, self._archives))}"

    def _file(self, number: int) -> BinaryIO:
        if number not in self._files:
            self._files[number] = self._archives[number].open("rb")
        return self._files[number]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_files": {}}  # a spawned worker opens the archives itself

    def __del__(self) -> None:
        for file in self._files.values():
            file.close()
