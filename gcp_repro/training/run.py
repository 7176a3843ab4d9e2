"""One training run from its configuration: build, resume, train, write down."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.utilities.exceptions import MisconfigurationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Callback, Trainer, seed_everything
from pytorch_lightning.callbacks import RichProgressBar
from pytorch_lightning.loggers import Logger

from gcp_repro.errors import DivergedError, OptionError
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.files import Row, previous_of, sweep_temporaries, write_atomically, write_json
from gcp_repro.runs.identity import config_hash, initial_stage_hash, run_directory
from gcp_repro.runs.lock import run_lock
from gcp_repro.runs.machine import solver_file
from gcp_repro.runs.outcome import recorded_result, summary
from gcp_repro.runs.processes import first_process
from gcp_repro.training.build import Experiment, build, build_experiment, check_optimizer
from gcp_repro.training.hardware import check_hardware
from gcp_repro.training.loop.checkpoints import DurableCheckpointIO, SaveCheckpoints, best_row, usable_checkpoint
from gcp_repro.training.loop.evaluation_epochs import EvaluateLastEpoch, check_evaluation
from gcp_repro.training.loop.requeue import handed_over
from gcp_repro.training.loop.solvers import KeepSolvers
from gcp_repro.training.loop.stopping import StopRequest, StopWhenAsked, as_interruption
from gcp_repro.training.module.compilation import explained_failures
from gcp_repro.training.option_kinds import check_kinds
from gcp_repro.training.processes.batches import BatchShare, share_batch
from gcp_repro.training.processes.console import log_to, show_progress, tell
from gcp_repro.training.processes.distributed import single_job_command
from gcp_repro.training.processes.others import OtherProcesses
from gcp_repro.training.processes.sharding import strategy_of
from gcp_repro.training.protocol.initial_stage import InitialStage, KeepInitialStage
from gcp_repro.training.record.endings import session
from gcp_repro.training.record.epoch_lines import EpochLines
from gcp_repro.training.record.json_lines import JsonLines
from gcp_repro.training.record.loggers import check_loggers
from gcp_repro.training.record.progress import Progress, progress_options
from gcp_repro.training.record.records import RunRecorder
from gcp_repro.training.result import build_result
from gcp_repro.trust import check_targets

__all__ = ["ignore_irrelevant_warnings", "train"]

log = logging.getLogger(__name__)

# Advice of Lightning that does not apply (in-memory data need no workers, rows are logged once an epoch, metrics are
# gathered from all processes before they are logged, diagnostics may come and go, a command may run where SLURM is installed and
# not in use), its own use of a deprecated function, and a look that torch's compiler takes at the tensors it is given.
IRRELEVANT_WARNINGS = (
    ".*does not have many workers.*",
    ".*is smaller than the logging interval.*",
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*It is recommended to use `self.log.*sync_dist=True.*",
    ".*isinstance\\(treespec, LeafSpec\\).*",
    ".*`srun` command is available on your system but is not used.*",
    ".*\\.grad attribute of a Tensor that is not a leaf Tensor.*",
    ".*WeightAveraging callback with a model that overrides the configure_model callback.*",  # what it means is refused
    ".*Be aware that when using `ckpt_path`, callbacks used to create the checkpoint need to be provided.*",
)


def train(config: DictConfig) -> dict[str, Any]:
    """Train what `config` describes, or go on with it, or find it finished.

    The run directory is `config.paths.run_dir`. If it holds a result nothing is done; if it holds a checkpoint the run
    goes on from there, to the same result. A run in which something stops being finite ends normally with status
    "diverged".

    Args:
        config: As composed from `configs/train.yaml`.

    Returns:
        "result": the contents of result.json. Unless the run was skipped also "experiment" and "trainer", the objects.

    Raises:
        UntrustedTargetError: The configuration names other objects than those of a training; see `gcp_repro.trust`.
        GCPError: The configuration asks for what cannot be; before anything is written where that can be told.
        RunLocked: Another process trains in the directory.
        StorageError: The directory cannot be written to.
        TrainingInterrupted: SIGTERM, Ctrl-C, or a limit of time or steps; the run can be resumed.
    """
    run = run_directory(config)
    result = recorded_result(run)
    if result is not None:
        tell("already %s, skipped: %s", result["status"], summary(result, run))
        return {"result": result}
    check_targets(config, "the command", config.trusted)
    check_kinds(config)
    limits = _seconds(config.trainer.get("max_time")), config.trainer.get("max_steps")
    with handed_over(requeue=config.trainer.get("requeue", False)), StopRequest(*limits) as request, _environment(config):
        check_evaluation(config.trainer)
        check_loggers(map(str, config.logger))
        progress_options(config.progress)
        check_hardware(config.trainer, config.callbacks)
        experiment = build_experiment(config, run.nonfinite)
        check_optimizer(experiment.module, config.optimizer)
        recorder, stage = RunRecorder(run.metrics), InitialStage.of(config) if experiment.swap else None
        solvers, others = KeepSolvers(solver_file()), OtherProcesses()
        trainer = _trainer(config, run, experiment, recorder, stage, request, [others, solvers])
        with run_lock(run) if first_process() else nullcontext(), log_to(run):
            share = _share(config, trainer)
            trainer.loggers = _prepare(config, run)
            with session(trainer.loggers, run.path, lambda: _facts(experiment, recorder)) as result:
                with others:
                    diverged = _fit(trainer, experiment, _checkpoint(config, run, stage), _hyperparameters(config, experiment))
                device = experiment.module.device
                solver = solvers.taken(experiment.module.network, device)
                result |= build_result(config, experiment, recorder, share, device, diverged=diverged, solver=solver)
                if trainer.is_global_zero:
                    write_json(run.result, result)
                    tell("%s", summary(result, run))
        request.raise_if_signalled()
    return {"result": result, "experiment": experiment, "trainer": trainer}


def _facts(experiment: Experiment, recorder: RunRecorder) -> dict[str, Any]:
    """What loggers show of a run as a whole."""
    best: Row = best_row(recorder.rows) or {}
    return {
        "epochs": len(recorder.rows),
        "best_top1_error": best.get("val/top1_error"),
        "best_epoch": best.get("epoch"),
        "swap_epoch": experiment.swap.swap_epoch if experiment.swap else None,
        "meta_layer": experiment.module.meta_layer_name,
    }


def _prepare(config: DictConfig, run: RunDirectory) -> list[Logger]:
    """Clear away what a killed process has left, write down the configuration and make the loggers, all by one process."""
    if not first_process():
        return []
    for folder in (run.path, run.checkpoints):
        sweep_temporaries(folder)
    write_atomically(run.config, OmegaConf.to_yaml(config, resolve=True))
    return [build(node) for node in config.logger.values()]


def _marks(config: DictConfig) -> dict[str, Any]:
    """By what a checkpoint is known to be the run's own, and an initial stage to be one that it can go on from."""
    stage = initial_stage_hash(config) if config.protocol.name == "hybrid" else None
    return {"identity": config_hash(config), "initial_stage": stage}


def _checkpoint(config: DictConfig, run: RunDirectory, stage: InitialStage | None) -> Path | None:
    """What to go on from: the run's own checkpoint, the initial stage that another hybrid run has left, or nothing."""
    marks, first = _marks(config), first_process()
    checkpoint = usable_checkpoint([run.last, previous_of(run.last)], {"identity": marks["identity"]}, first_process=first)
    if checkpoint is None and stage is not None:
        checkpoint = usable_checkpoint([stage.path], {"initial_stage": marks["initial_stage"]}, first_process=first)
        if checkpoint is not None and first:
            stage.hand_over(run)
    if checkpoint is not None:
        log.info("resuming from %s", checkpoint)
    return checkpoint


def _share(config: DictConfig, trainer: Trainer) -> BatchShare:
    """Divide the global batch over the processes that there are, in as many passes as their memory asks for."""
    share = share_batch(
        config.data.batch_size,
        trainer.world_size,
        passes=config.trainer.accumulate_grad_batches,
        images_per_device=config.trainer.images_per_device,
    )
    trainer.accumulate_grad_batches = share.passes
    if share.local_batch_size != share.batch_size:
        log.info(
            "each step's %d images: %d processes x %d passes x %d images",
            share.batch_size, share.world_size, share.passes, share.local_batch_size,
        )  # fmt: skip
    return share


def _fit(trainer: Trainer, experiment: Experiment, checkpoint: Path | None, hyperparameters: Any) -> DivergedError | None:
    """Train to the end; returns why the run diverged, or None."""
    for logger in trainer.loggers:
        logger.log_hyperparams(hyperparameters)
    try:
        with single_job_command(), as_interruption(), explained_failures(experiment.module.compile_options):
            trainer.fit(experiment.module, experiment.datamodule, ckpt_path=checkpoint)
    except DivergedError as error:
        return error
    return None


def _trainer(
    config: DictConfig,
    run: RunDirectory,
    experiment: Experiment,
    recorder: RunRecorder,
    stage: InitialStage | None,
    request: StopRequest,
    first: list[Callback],
) -> Trainer:
    """The Trainer, before anything is written and so without loggers.

    Raises:
        OptionError: Lightning does not take the options, as accelerator=gpu where there is none.
    """
    options: dict[str, Any] = OmegaConf.to_container(config.trainer, resolve=True)  # type: ignore[assignment]
    for name in ("num_threads", "requeue", "images_per_device", "accumulate_grad_batches", "max_time", "max_steps"):
        options.pop(name, None)
    where = ", ".join(f"trainer.{name}={options.get(name)}" for name in ("accelerator", "devices", "num_nodes", "strategy"))
    options["strategy"] = strategy_of(options.get("strategy", "auto"))
    progress = show_progress(options.pop("progress_bar"))
    max_epochs = options.pop("max_epochs")
    callbacks: list[Callback] = [
        *first,
        experiment.module.finite_steps,  # before all that look at gradients
        *([experiment.swap] if experiment.swap else []),
        *([KeepInitialStage(experiment.swap.swap_epoch, run, stage)] if experiment.swap and stage else []),
        *(build(node) for node in config.callbacks.values()),
        recorder,
        StopWhenAsked(request, run.last),
        EvaluateLastEpoch(),
        JsonLines(run.lines, recorder),
        SaveCheckpoints(run, recorder, _marks(config)),
        Progress(run, recorder, not progress, **progress_options(config.progress)),
        RichProgressBar(leave=False) if progress else EpochLines(recorder),
    ]
    try:
        return Trainer(
            **options,
            max_epochs=experiment.schedule.epochs if max_epochs is None else max_epochs,
            gradient_clip_val=config.gradient_clip_norm,
            callbacks=callbacks,
            plugins=[DurableCheckpointIO()],
            logger=False,
            default_root_dir=run.path,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            use_distributed_sampler=False,  # the data modules share out the samples themselves, and exactly
        )
    except (MisconfigurationException, TypeError, ValueError, RuntimeError) as error:
        raise OptionError(f"trainer needs options that Lightning takes on this machine; got {where}: {error}") from error


def _seconds(limit: Any) -> float | None:
    """`trainer.max_time` as Lightning has it: "DD:HH:MM:SS", or the arguments of a timedelta.

    Raises:
        OptionError: "trainer.max_time needs days, hours, minutes and seconds as 'DD:HH:MM:SS'; got '1h': ..."
    """
    if limit is None:
        return None
    try:
        if isinstance(limit, str):
            days, hours, minutes, seconds = map(int, limit.split(":"))
            return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()
        return timedelta(**OmegaConf.to_container(limit)).total_seconds()  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise OptionError(
            f"trainer.max_time needs days, hours, minutes and seconds as 'DD:HH:MM:SS'; got {limit!r}: write '00:11:30:00' for "
            "eleven and a half hours"
        ) from None


def _hyperparameters(config: DictConfig, experiment: Experiment) -> dict[str, Any]:
    """What loggers record of a run: its configuration, and the epoch of the hybrid swap that follows from it."""
    options: dict[str, Any] = OmegaConf.to_container(config, resolve=True)  # type: ignore[assignment]
    return options | {"swap_epoch": experiment.swap.swap_epoch if experiment.swap else None}


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
