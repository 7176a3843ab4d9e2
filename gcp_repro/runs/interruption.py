"""The end of a run that goes on when its command is repeated."""

from __future__ import annotations

import signal

from gcp_repro.runs.exit_codes import INTERRUPTED, of_signal

__all__ = ["MAX_STEPS", "MAX_TIME", "TrainingInterrupted"]

MAX_TIME = "trainer.max_time"
"""A limit that a run may be stopped by."""
MAX_STEPS = "trainer.max_steps"
"""Likewise."""


class TrainingInterrupted(Exception):
    """A run was asked to stop, and can be resumed.

    Args:
        by: A signal's number, or one of the limits.

    Attributes:
        signum: The signal's number; None for a limit.
        reason: By whom or what, as in "SIGTERM".
    """

    def __init__(self, by: int | str) -> None:
        self.signum = None if isinstance(by, str) else by
        self.reason = by if isinstance(by, str) else signal.Signals(by).name
        super().__init__(f"stopped by {self.reason}; run the same command again to go on")
        self._by = by

    @property
    def exit_code(self) -> int:
        """Of the command."""
        return INTERRUPTED if self.signum is None else of_signal(self.signum)

    def __reduce__(self) -> tuple[type[TrainingInterrupted], tuple[int | str]]:
        """Pickle by the argument, so that it can cross from a worker process."""
        return type(self), (self._by,)
