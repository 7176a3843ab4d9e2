"""The end of a run that goes on when its command is repeated."""

from __future__ import annotations

import signal

from gcp_repro.runs.exit_codes import INTERRUPTED

__all__ = ["TrainingInterrupted"]


class TrainingInterrupted(Exception):
    """A run was asked to stop, and can be resumed.

    Args:
        reason: By whom or what, as in "SIGTERM".
        exit_code: Of the command: 128 and the signal's number, or `INTERRUPTED`.
    """

    def __init__(self, reason: str, exit_code: int = INTERRUPTED) -> None:
        super().__init__(f"stopped by {reason}; run the same command again to go on")
        self.reason, self.exit_code = reason, exit_code

    @classmethod
    def by_signal(cls, signum: int) -> TrainingInterrupted:
        """By a signal."""
        return cls(signal.Signals(signum).name, 128 + signum)

    def __reduce__(self) -> tuple[type[TrainingInterrupted], tuple[str, int]]:
        """Pickle by the arguments, so that it can cross from a worker process."""
        return type(self), (self.reason, self.exit_code)
