"""Exit statuses of the commands, for whatever starts them: a shell, a scheduler, a sweep."""

import signal

from gcp_repro.runs.scheduler import PREEMPTIONS

__all__ = ["DIVERGED", "FAILED", "FINISHED", "INTERRUPTED", "LOCKED", "MEANINGS", "MISCONFIGURED", "of_signal"]

FINISHED = 0
FAILED = 1
MISCONFIGURED = 2
DIVERGED = 3
LOCKED = 4
INTERRUPTED = 75  # EX_TEMPFAIL of sysexits.h


def of_signal(signum: int) -> int:
    """Of a command that a signal has ended, as shells have it.

    Example:
        >>> of_signal(signal.SIGTERM)
        143
    """
    return 128 + signum


MEANINGS = {
    FINISHED: "what was asked for is done; the run is finished, now or before",
    FAILED: "something outside of the configuration went wrong: data, disk, memory, or a fault of the program",
    MISCONFIGURED: "the command asks for what cannot be, or names a file or folder that is not there",
    DIVERGED: "something stopped being finite, and the result says what; a sweep does not end with this",
    LOCKED: "another process trains in the run directory",
    INTERRUPTED: "stopped by `trainer.max_time` or `trainer.max_steps`; the same command goes on",
    of_signal(signal.SIGINT): "stopped by Ctrl-C; the same command goes on",
    of_signal(signal.SIGTERM): "stopped by SIGTERM; the same command goes on",
    **{of_signal(number): f"stopped by {number.name}, a scheduler's warning; the same command goes on" for number in PREEMPTIONS},
}
"""What each says, in words."""
