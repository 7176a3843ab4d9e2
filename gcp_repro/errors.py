"""Every error that gcp_repro raises for a user's mistake: what was needed, what came, what to do.

All are subclasses of `ValueError` through `GCPError`, so that one `except` clause catches them all.

Imports: nothing; of others nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = [
    "DataError",
    "DivergedError",
    "GCPError",
    "MissingPathError",
    "NonFiniteError",
    "OptionError",
    "ProtocolError",
    "ShapeError",
    "StorageError",
    "UnknownNameError",
    "nearest_names",
]


class GCPError(ValueError):
    """Base class of every error in this package that a user can mend."""


class ShapeError(GCPError):
    """A tensor has the wrong number of dimensions or the wrong sizes."""


class NonFiniteError(GCPError):
    """A tensor holds NaN or infinity where finite numbers are needed."""


class DivergedError(NonFiniteError):
    """A run has met a loss, gradient or metric that is not finite, and ends.

    Args:
        message: What was met.
        epoch: Counted from 0.
        batch: Of that epoch.
        cause: What was not finite: "loss", "gradient", "validation logits", ...
    """

    def __init__(self, message: str, *, epoch: int, batch: int, cause: str) -> None:
        super().__init__(message)
        self.epoch, self.batch, self.cause = epoch, batch, cause


class OptionError(GCPError):
    """An option has a value outside its range or of the wrong kind, or two options contradict each other."""


class ProtocolError(GCPError):
    """A training protocol does not fit the learning-rate schedule."""


class DataError(GCPError):
    """Data on disk are missing, damaged, or not what their format promises."""


class MissingPathError(DataError):
    """A file or folder that a command or configuration names is not there."""


class StorageError(GCPError):
    """A file cannot be written or read, for a reason outside of this package: a full disk, missing rights, a vanished folder.

    Args:
        path: What was to be written.
        reason: The operating system's error, or words.
    """

    def __init__(self, path: object, reason: OSError | str) -> None:
        words = (reason.strerror or str(reason)) if isinstance(reason, OSError) else reason
        remedy = "make room or choose another place with paths.runs_dir; what was saved before is left as it was"
        super().__init__(f"writing {path} failed ({words}): {remedy}")
        self._arguments = (str(path), words)

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, str]]:
        """Pickle by the arguments, so that the error can cross from a worker process."""
        return type(self), self._arguments


class UnknownNameError(GCPError):
    """A name is not registered; the message offers the nearest ones and lists all.

    Args:
        kind: What the name stands for, as in "meta-layer".
        name: The name that came.
        known: The registered names.
    """

    def __init__(self, kind: str, name: object, known: Iterable[str]) -> None:
        known = sorted(known)
        nearest = nearest_names(name, known)
        hint = f"; nearest: {', '.join(map(repr, nearest))}" if nearest else ""
        super().__init__(f"no {kind} {name!r}{hint}; known: {', '.join(known)}")
        self._arguments = (kind, name, known)

    def __reduce__(self) -> tuple[type[UnknownNameError], tuple[str, object, list[str]]]:
        """Pickle by the arguments, so that the error can cross from a worker process."""
        return type(self), self._arguments


def nearest_names(name: object, known: Iterable[str], limit: int = 3) -> list[str]:
    """Registered names that look like `name`, the likeliest first.

    Example:
        >>> nearest_names("svd_pad", ["svd_pade", "svd_taylor", "gap"])
        ['svd_pade', 'svd_taylor']
    """
    return get_close_matches(str(name), list(known), n=limit, cutoff=0.5)
