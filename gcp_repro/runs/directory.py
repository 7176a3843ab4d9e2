"""Names of the files in a run directory."""

from __future__ import annotations

from pathlib import Path

__all__ = ["RunDirectory"]


class RunDirectory:
    """A run's files.

    Args:
        path: The directory; need not exist.

    Attributes:
        config: The composed configuration, resolved.
        metrics: One row an epoch.
        lines: The same rows as one line of JSON each, appended as they come.
        progress: How far the run was when it was last looked at.
        steps: The ratio of the first two eigenvalues over the first steps, where that diagnostic is on.
        result: Written once, at the end; its presence means that the run is over.
        origin: Of imported weights, where they are from.
        log: What the run said.
        lock: Held by the process that trains here.
        checkpoints: Folder of the next three.
        last: State after the latest complete epoch, or where the run was stopped.
        best: Weights of the epoch with the smallest validation error.
        nonfinite: Folder of the batches whose loss, gradient or metric was not finite.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.csv"
        self.lines = self.path / "metrics.jsonl"
        self.progress = self.path / ".progress.json"
        self.steps = self.path / "eigenvalue_ratio.csv"
        self.result = self.path / "result.json"
        self.origin = self.path / "import.json"
        self.log = self.path / "train.log"
        self.lock = self.path / ".lock"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"
        self.nonfinite = self.path / "nonfinite"

    @classmethod
    def of_checkpoint(cls, checkpoint: str | Path) -> RunDirectory:
        """The run that a file in its folder `checkpoints` belongs to."""
        return cls(Path(checkpoint).parent.parent)

    def holds_run(self) -> bool:
        """Whether any file of a run is there."""
        return any(path.is_file() for path in (self.result, self.metrics, self.config, self.log))
