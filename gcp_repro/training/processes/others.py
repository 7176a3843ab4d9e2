"""The processes that Lightning has started beside this one, for a run on several devices: watched, and ended with it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer

from gcp_repro.runs.interruption import TrainingInterrupted

__all__ = ["OtherProcesses"]

log = logging.getLogger(__name__)

GRACE_SECONDS = 60.0
"""For this process to fail by itself, when another has: gloo tells at once that a peer is gone, NCCL may wait for ever."""


class OtherProcesses(Callback):
    """Takes the place of Lightning's own watch, which kills this process within seconds, and with it a sweep and its account.

    Where one of them fails this process is given time to fail by itself; then it is killed, for it may be waiting for the lost
    one in a place that no signal reaches. It is a context around the training: when that is over, however it ends, nobody
    watches any more, and an exception ends the others as well.
    """

    def __init__(self) -> None:
        self._processes: list[subprocess.Popen[bytes]] = []
        self._over = threading.Event()

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Begin to watch; where a launcher has started nothing there is nothing to do."""
        launcher: Any = trainer.strategy.launcher
        started = getattr(launcher, "procs", [])
        if started and not self._processes:
            self._processes = list(started)
            started.clear()  # Lightning's watch ends when it has none
            threading.Thread(target=self._watch, name="other processes", daemon=True).start()

    def __enter__(self) -> OtherProcesses:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Watch no more; after an interruption the others save themselves, after a failure they would wait for this one."""
        self._over.set()
        if error is not None:
            signum = signal.SIGTERM if isinstance(error, TrainingInterrupted) else signal.SIGKILL
            for process in self._processes:
                process.send_signal(signum)

    def _watch(self) -> None:
        while not self._over.wait(1.0):
            statuses = [process.poll() for process in self._processes]
            if all(status == 0 for status in statuses):
                return
            failed = [status for status in statuses if status]
            if failed:
                log.error(
                    "another process of this run has ended with status %d; its log (train.rank*.log) may say why", failed[0]
                )
                if not self._over.wait(GRACE_SECONDS):
                    os.kill(os.getpid(), signal.SIGKILL)
                return
