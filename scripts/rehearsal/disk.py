"""A disk that can be filled: a small file system of its own where that is allowed, else a limit on the size of files."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from scripts.rehearsal.processes import Sweep

MEGABYTES = 2500
"""Of the file system: 13 runs with four checkpoints each take about 1,300."""
UNLIMITED = resource.RLIM_INFINITY


class Disk:
    """Where runs are written.

    Args:
        folder: Is made.
    """

    kind = ""
    keeps_output = True  # of the sweep, in a log that lies elsewhere

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, sweep: Sweep) -> None:
        """Let every further write of the sweep fail."""
        raise NotImplementedError

    def empty(self) -> None:
        """Make room again."""
        raise NotImplementedError


class FileSystem(Disk):
    """A file system in memory, filled by one large file."""

    kind = f"a file system of {MEGABYTES} MB in memory, filled to the last byte"

    def fill(self, sweep: Sweep) -> None:
        """Write until there is no room."""
        with suppress(OSError), (self.folder / "ballast").open("wb", buffering=0) as file:
            while True:
                file.write(bytes(2**20))
        with suppress(OSError), (self.folder / "ballast").open("ab", buffering=0) as file:
            while True:
                file.write(bytes(1))

    def empty(self) -> None:
        """Take the file away."""
        (self.folder / "ballast").unlink()


class Limit(Disk):
    """A stand-in for who may not mount: the system refuses the sweep's processes files of more than a few bytes."""

    kind = "no file system of its own (that needs root): a limit on the size of the processes' files"
    keeps_output = False

    def fill(self, sweep: Sweep) -> None:
        """Set the limit on all processes of the sweep; those that start later begin without it."""
        for process in sweep.processes():
            resource.prlimit(process, resource.RLIMIT_FSIZE, (16, UNLIMITED))

    def empty(self) -> None:
        """Nothing is left of it: the processes have ended."""


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    """The best that this user may have."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "gcp_repro_rehearsal", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, check=False, capture_output=True).returncode == 0
    try:
        yield FileSystem(folder) if mounted else Limit(folder)
    finally:
        if mounted:
            subprocess.run(["umount", str(folder)], check=False)
