"""Paths as users write them, in configurations, arguments and the environment.

Imports: nothing; of others nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["printable", "user_path"]


def user_path(text: str | Path) -> Path:
    """A path as a user gives it: what has that very name, else with `~` as the home folder.

    Where there is no user of that name, and no home, the path stays as it is.
    """
    return Path(text if os.path.exists(text) else os.path.expanduser(text))  # noqa: PTH110, PTH111  those of Path can raise


def printable(name: object) -> str:
    r"""A name as it can be written to logs: bytes that are no UTF-8 are spelled out.

    Example:
        >>> printable(os.fsdecode(b"caf\xe9.jpg"))
        'caf\\xe9.jpg'
    """
    return os.fsencode(str(name)).decode(errors="backslashreplace")
