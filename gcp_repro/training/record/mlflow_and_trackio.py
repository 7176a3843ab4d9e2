"""A run of MLflow that goes on where it was stopped, and Trackio for Lightning."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytorch_lightning.loggers import Logger, MLFlowLogger
from pytorch_lightning.utilities import rank_zero_only

from gcp_repro.training.record.loggers import remembered

__all__ = ["TrackioLogger", "mlflow_logger"]


def mlflow_logger(*, name: str, experiment: str, tags: Mapping[str, str], tracking_uri: str, folder: str) -> MLFlowLogger:
    """A logger whose run is the same for all sessions of a run that is stopped and resumed.

    Args:
        name: Of the run, as its directory is called.
        experiment: What the runs of a sweep have in common.
        tags: To filter by.
        tracking_uri: A server, or `file:` and a folder.
        folder: The run directory, where MLflow's name of the run is kept.
    """
    note = Path(folder) / "mlflow" / "run-id.txt"
    known = note.read_text(encoding="utf-8") if note.exists() else None
    logger = MLFlowLogger(experiment_name=experiment, run_name=name, tracking_uri=tracking_uri, tags=dict(tags), run_id=known)
    remembered(note, lambda: str(logger.run_id))
    return logger


class TrackioLogger(Logger):
    """Trackio, a dashboard on the user's own machine or a space of Hugging Face's.

    Args:
        project: Where the runs are gathered.
        name: Of the run; one that is resumed goes on under it.
        group: What a sweep's runs have in common.
        space_id: A space to send to; None keeps all on this machine.
    """

    def __init__(self, *, project: str, name: str, group: str | None = None, space_id: str | None = None) -> None:
        super().__init__()
        self._project, self._name, self._group, self._space_id = project, name, group, space_id
        self._run: Any = None

    @property
    def name(self) -> str:
        """The project."""
        return self._project

    @property
    def version(self) -> str:
        """The run."""
        return self._name

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Begin the run, of which they are a part."""
        import trackio

        config = vars(params) if isinstance(params, Namespace) else dict(params)
        self._run = trackio.init(
            project=self._project, name=self._name, group=self._group, space_id=self._space_id, config=config, resume="allow",
            embed=False,
        )  # fmt: skip

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Send numbers."""
        if self._run is not None:
            self._run.log(dict(metrics), step=step)

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run; a second time does nothing."""
        if self._run is not None:
            import trackio

            trackio.finish()  # type: ignore[no-untyped-call]
            self._run = None
