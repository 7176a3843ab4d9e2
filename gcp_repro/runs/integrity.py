"""Whether a checkpoint file is whole, found out without torch and without running anything in it."""

from __future__ import annotations

import zipfile
from pathlib import Path

__all__ = ["damage"]


def damage(path: Path) -> str | None:
    """What is wrong with a file of `torch.save`; None if every byte of its content is as it was written.

    Such a file is a zip archive with a CRC-32 of each entry, which `torch.load` writes but never checks: a single flipped
    bit would be trained on without a word.

    Example:
        >>> damage(Path("no/such.ckpt"))
        'there is no such file'
    """
    if not path.is_file():
        return "there is no such file"
    try:
        if path.stat().st_size == 0:
            return "the file is empty (0 bytes)"
        with zipfile.ZipFile(path) as archive:
            entry = archive.testzip()
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
        return f"no whole file of torch.save ({error})"
    return None if entry is None else f"entry {entry} has changed since it was written (CRC-32)"
