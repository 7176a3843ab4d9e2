"""What a folder lacks of a form in which data sets come."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Lack"]


@dataclass(frozen=True)
class Lack:
    """One thing that is not there.

    Args:
        name: What it is called.
        found: Words about what is there instead, if anything is.
        remedy: What to do about that.
    """

    name: str
    found: str = ""
    remedy: str = ""
