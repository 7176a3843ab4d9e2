"""One training run from its configuration: build, resume, train, write down."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import ModelCheckpoint, RichProgressBar
from pytorch_lightning.loggers import Logger, WandbLogger

from gcp_repro.errors import NonFiniteError, OptionError
from gcp_repro.training.build import Experiment, build, build_experiment
from gcp_repro.training.console import show_progress, tell
from gcp_repro.training.distributed import single_job_command
from gcp_repro.training.initial_stage import KeepInitialStage, initial_stage_path
from gcp_repro.training.interruption import StopOnSignal
from gcp_repro.training.records import RunRecorder, read_json, write_atomically, write_json
from gcp_repro.training.result import RunDirectory, build_result

__all__ = ["ignore_irrelevant_warnings", "train"]

log = logging.getLogger(__name__)

# Advice of Lightning that does not apply (in-memory data need no workers, rows are logged once an epoch, metrics are
# gathered from all processes before they are logged), and its own use of a deprecated function.
IRRELEVANT_WARNINGS = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*It is recommended to use `self.log.*sync_dist=True.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*The dirpath has changed from.*",  # a shared initial stage: best.ckpt is kept from there on
)


def train(config: DictConfig) -> dict[str, Any]:
    """Train what `config` describes, or go on with it, or find it finished.

    The run directory is `config.paths.run_dir`. If it holds `result.json` nothing is done; if it holds a checkpoint the run
    goes on from there, to the same result. A run whose loss or covariance stops being finite ends normally with status
    "diverged".

    Args:
        config: As composed from `configs/train.yaml`.

    Returns:
        "result": the contents of result.json. Unless the run was skipped also "experiment" and "trainer", the objects.

    Raises:
        ProtocolError: The protocol does not fit the schedule or the layer; raised before training.
        TrainingInterrupted: SIGTERM or Ctrl-C; the run can be resumed.
    """
    run = RunDirectory(config.paths.run_dir)
    if run.result.exists():
        result = read_json(run.result)
        tell("already %s, skipped: %s", result["status"], _summary(result, run))
        return {"result": result}
    with _environment(config):
        experiment = build_experiment(config)
        _write_config(config, run)
        loggers = [build(node) for node in config.logger.values()]
        recorder = RunRecorder(run.metrics)
        shared = initial_stage_path(config)
        trainer = _trainer(config, run, experiment, recorder, loggers, shared)
        try:
            diverged = _fit(trainer, experiment, _checkpoint(run, shared), _hyperparameters(config, experiment))
        finally:
            _close(loggers)
        result = build_result(config, experiment, recorder, experiment.module.device, diverged=diverged)
        if trainer.is_global_zero:
            write_json(run.result, result)
            tell("%s", _summary(result, run))
    return {"result": result, "experiment": experiment, "trainer": trainer}


def _checkpoint(run: RunDirectory, shared: Path | None) -> Path | None:
    """What to go on from: the run's own checkpoint, the initial stage that another hybrid run has left, or nothing."""
    checkpoint = next((path for path in (run.last, shared) if path is not None and path.exists()), None)
    if checkpoint is not None:
        log.info("resuming from %s", checkpoint)
    return checkpoint


def _fit(trainer: Trainer, experiment: Experiment, checkpoint: Path | None, hyperparameters: Any) -> str | None:
    """Train to the end; returns why the run diverged, or None."""
    for logger in trainer.loggers:
        logger.log_hyperparams(hyperparameters)
    try:
        with single_job_command():
            trainer.fit(experiment.module, experiment.datamodule, ckpt_path=checkpoint)
    except (NonFiniteError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
        return str(error)
    return None


def _trainer(
    config: DictConfig,
    run: RunDirectory,
    experiment: Experiment,
    recorder: RunRecorder,
    loggers: list[Logger],
    shared: Path | None,
) -> Trainer:
    options: dict[str, Any] = OmegaConf.to_container(config.trainer, resolve=True)  # type: ignore[assignment]
    options.pop("num_threads")
    _refuse_spawning(options["strategy"])
    progress = show_progress(options.pop("progress_bar"))
    max_epochs = options.pop("max_epochs")
    callbacks: list[Callback] = [
        *([experiment.swap] if experiment.swap else []),
        *([KeepInitialStage(experiment.swap.swap_epoch, run.last, shared)] if experiment.swap and shared else []),
        *(build(node) for node in config.callbacks.values()),
        recorder,
        StopOnSignal(run.last),
        *_checkpoints(run),
        *([RichProgressBar(leave=False)] if progress else []),
    ]
    return Trainer(
        **options,
        max_epochs=experiment.schedule.epochs if max_epochs is None else max_epochs,
        gradient_clip_val=config.gradient_clip_norm,
        callbacks=callbacks,
        logger=loggers or False,
        default_root_dir=run.path,
        enable_progress_bar=progress,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the data modules share out the samples themselves, and exactly
    )


def _refuse_spawning(strategy: str) -> None:
    """Strategies that train in child processes would take the record of the run with them.

    Raises:
        OptionError: "trainer.strategy needs one that starts a command per process; got 'ddp_spawn': ..."
    """
    if strategy.endswith(("_spawn", "_fork", "_notebook")):
        raise OptionError(
            f"trainer.strategy needs one that starts a command per process; got {strategy!r}: use trainer.strategy=ddp"
        )


def _checkpoints(run: RunDirectory) -> list[Callback]:
    """The last epoch, to resume from, and the best weights."""
    common: dict[str, Any] = {
        "dirpath": run.checkpoints,
        "enable_version_counter": False,
        "save_on_train_epoch_end": True,
        "save_top_k": 1,
    }
    return [
        ModelCheckpoint(filename=run.last.stem, **common),
        ModelCheckpoint(filename=run.best.stem, monitor="val/top1_error", mode="min", save_weights_only=True, **common),
    ]


def _hyperparameters(config: DictConfig, experiment: Experiment) -> dict[str, Any]:
    """What loggers record of a run: its configuration, and the epoch of the hybrid swap that follows from it."""
    options: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return options | {"swap_epoch": experiment.swap.swap_epoch if experiment.swap else None}


@rank_zero_only
def _write_config(config: DictConfig, run: RunDirectory) -> None:
    write_atomically(run.config, OmegaConf.to_yaml(config, resolve=True))


def _close(loggers: list[Logger]) -> None:
    """End W&B's run, or the next job of a sweep would go on with it."""
    if any(isinstance(logger, WandbLogger) for logger in loggers):
        import wandb

        wandb.finish()


@contextmanager
def _environment(config: DictConfig) -> Iterator[None]:
    """Seeds, threads and warnings of a run."""
    threads = torch.get_num_threads()
    if config.trainer.num_threads is not None:
        torch.set_num_threads(config.trainer.num_threads)
    seed_everything(config.seed, workers=True, verbose=False)
    try:
        with ignore_irrelevant_warnings():
            yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def ignore_irrelevant_warnings() -> Iterator[None]:
    """Within this, Lightning does not give the advice listed at the top of this file."""
    with warnings.catch_warnings():
        for message in IRRELEVANT_WARNINGS:
            warnings.filterwarnings("ignore", message)
        yield


def _summary(result: dict[str, Any], run: RunDirectory) -> str:
    """One line: error, seconds, directory."""
    if result["status"] == "diverged":
        return f"diverged after {result['epochs']} epochs ({result['message'].split(':')[0]}) | {run.path}"
    error, best, seconds = (result[key] for key in ("final_top1_error", "best_top1_error", "wall_time_seconds"))
    return f"error {error:.2f} % (best {best:.2f} %) in {seconds:.1f} s | {run.path}"
