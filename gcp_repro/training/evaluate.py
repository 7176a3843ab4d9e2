"""Scoring a run's weights on its validation split."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from gcp_repro.errors import DataError, OptionError
from gcp_repro.training.build import build_experiment
from gcp_repro.training.records import epoch_metrics
from gcp_repro.training.result import RunDirectory
from gcp_repro.training.run import ignore_irrelevant_warnings

__all__ = ["evaluate", "find_checkpoint"]


def evaluate(checkpoint: Path, *, accelerator: str = "auto") -> dict[str, float]:
    """Metrics of a checkpoint, the same as the run recorded for the epoch that the checkpoint ends.

    The network is built from the run's `config.yaml`; under the hybrid protocol with the layer that the checkpoint's epoch
    was trained with.

    Args:
        checkpoint: A file in the folder `checkpoints` of a run directory.
        accelerator: Lightning's name of the device.

    Returns:
        `val/loss`, `val/top1_error`, `val/top5_error`.

    Raises:
        DataError: The checkpoint or the configuration is not there.
    """
    run = RunDirectory(checkpoint.parent.parent)
    for path, what in ((checkpoint, "checkpoint"), (run.config, "configuration of the run")):
        if not path.is_file():
            raise DataError(
                f"scoring needs the {what} at {path}; there is no such file: pass checkpoint=RUN/checkpoints/last.ckpt"
            )
    config = OmegaConf.load(run.config)
    assert isinstance(config, DictConfig)
    state: dict[str, Any] = torch.load(checkpoint, map_location="cpu", weights_only=True)
    experiment = build_experiment(config)
    if experiment.swap is not None:
        experiment.swap.set_stage(experiment.module, state["epoch"])
    experiment.module.load_state_dict(state["state_dict"])
    with ignore_irrelevant_warnings():
        trainer = Trainer(
            accelerator=accelerator,
            devices=1,
            precision=config.trainer.precision,
            limit_val_batches=config.trainer.limit_val_batches,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.validate(experiment.module, experiment.datamodule, verbose=False)
    return epoch_metrics(trainer)


def find_checkpoint(run: str | None, checkpoint: str | None) -> Path:
    """The file that `run=DIR` or `checkpoint=PATH` stands for; the last checkpoint of a run.

    Raises:
        OptionError: None of the two is given, or both are.
    """
    if (run is None) == (checkpoint is None):
        raise OptionError(
            f"gcp-eval needs one of run=DIRECTORY and checkpoint=FILE; got run={run}, checkpoint={checkpoint}: give one"
        )
    return Path(checkpoint) if checkpoint is not None else RunDirectory(str(run)).last
