"""What lies in a file's place where the file itself was not fetched: pointers of Git, links to nothing, web pages, refusals.

Imports: `errors`; of others nothing.
"""

from __future__ import annotations

from pathlib import Path

from gcp_repro.errors import DataError

__all__ = ["LOOKED_AT", "refuse_stand_in", "stand_in", "stand_in_at"]

LOOKED_AT = 200
"""Bytes of a file that tell."""


def stand_in(start: bytes) -> str:
    r"""What a file is instead of its content, going by its first bytes, and what to do; "" for any other file.

    Example:
        >>> stand_in(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a")
        'a pointer of Git LFS: run `git lfs pull` in its repository'
        >>> stand_in(b"\xff\xd8\xff")
        ''
    """
    if start.startswith(b"version https://git-lfs.github.com/spec/"):
        return "a pointer of Git LFS: run `git lfs pull` in its repository"
    if start.startswith(b"/annex/objects/"):
        return "a pointer of git-annex: run `git annex get` in its repository"
    start = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        return "a web page: what sent it wanted a login, or had no such file; fetch the file again"
    if start.startswith(b"<?xml") and b"<error>" in start:
        return "the refusal of a bucket: the address is wrong or the rights are missing; fetch the file again"
    return ""


def stand_in_at(path: Path) -> str:
    """The same of what a path leads to, links to nothing and folders included."""
    try:
        if path.is_dir():
            return "a folder: put the file there, or name another"
        if path.exists() and not path.is_file():
            return ""  # a pipe, which may wait for ever or can be read once
        with path.open("rb") as file:
            return stand_in(file.read(LOOKED_AT))
    except OSError:
        target = path.readlink() if path.is_symlink() else None
        if target is None:
            return ""
        annex = ": run `git annex get` in its repository" if "annex" in target.parts else ""
        return f"a link to {target}, which is not there{annex}"


def refuse_stand_in(path: Path) -> None:
    """Raise where something else lies in a file's place.

    Raises:
        DataError: It does.
    """
    found = stand_in_at(path)
    if found:
        raise DataError(f"the content of {path} is needed; in its place is {found}")
