"""Exit statuses of `gcp-train`, for whatever starts it: a shell, a scheduler, a sweep."""

__all__ = ["DIVERGED", "FAILED", "FINISHED", "INTERRUPTED", "LOCKED", "MISCONFIGURED"]

FINISHED = 0
"""The run is finished, now or before."""
FAILED = 1
"""Something outside of the configuration went wrong: data, disk, memory, or a fault of the program."""
MISCONFIGURED = 2
"""The command asks for what cannot be; nothing was trained."""
DIVERGED = 3
"""The run has ended because something stopped being finite; its result says what."""
LOCKED = 4
"""Another process trains in the run directory."""
INTERRUPTED = 75
"""Stopped by `trainer.max_time` or `trainer.max_steps`, and goes on when the command is repeated (sysexits' EX_TEMPFAIL).
A signal gives 128 and its number: 143 for SIGTERM, 130 for Ctrl-C."""
