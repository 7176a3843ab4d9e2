"""Locks that a fork cannot leave locked for ever.

Imports: nothing; of others nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from types import TracebackType

__all__ = ["RenewedLock", "after_fork"]


def after_fork(call: Callable[[], object]) -> None:
    """Have something called at the start of every forked child; on Windows, which has none, never."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=call)


class RenewedLock:
    """A lock that its thread may take again, and that is new, and so free, in a forked child.

    A child has the thread alone that forked it. A lock that another thread held at that moment would stay locked there.
    """

    def __init__(self) -> None:
        self._renew()
        after_fork(self._renew)

    def _renew(self) -> None:
        self._lock = threading.RLock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._lock.release()
