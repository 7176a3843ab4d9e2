"""Printing what may be piped into another program."""

from __future__ import annotations

import os
import sys

__all__ = ["print_all"]


def print_all(text: str) -> None:
    """Print a text at once; a reader that has enough, as `head`, ends it without an error."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the rest goes nowhere, not into an error at exit
