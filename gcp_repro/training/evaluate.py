"""Scoring a run's weights on its validation split."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from pytorch_lightning import Trainer
from torch import Tensor

from gcp_repro.errors import DataError, MissingPathError, OptionError, UnknownNameError
from gcp_repro.linalg.solvers import using
from gcp_repro.metalayers import is_extra_state
from gcp_repro.runs.config_file import read_config
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.runs.files import read_json, write_json
from gcp_repro.training.build import Experiment, build_experiment, label_of
from gcp_repro.training.loop.solvers import kept_solvers
from gcp_repro.training.record.predictions import PredictionRecorder, check_files, write_predictions
from gcp_repro.training.record.records import epoch_metrics
from gcp_repro.training.result import build_imported_result
from gcp_repro.training.run import ignore_irrelevant_warnings
from gcp_repro.trust import check_targets
from gcp_repro.user_paths import printable, user_path
from gcp_repro.weight_files import load_plain

__all__ = ["evaluate", "find_checkpoint"]

log = logging.getLogger(__name__)

WITHOUT_EFFECT_ON_SCORES = {"root", "num_workers", "eval_batch_size"}


def evaluate(
    checkpoint: Path,
    *,
    accelerator: str = "auto",
    data: Mapping[str, Any] | None = None,
    files: Mapping[str, str | Path | None] | None = None,
    trusted: Iterable[str] = (),
) -> dict[str, float]:
    """Metrics of a checkpoint, the same as the run recorded for the epoch that the checkpoint ends.

    The network is built from the run's `config.yaml`; under the hybrid protocol with the layer that the checkpoint's epoch
    was trained with. Imported weights have no record of a training: the scores of their last checkpoint on the whole split
    become the run's `result.json`, from which `gcp-tables` knows them (not if `data` changes how they are scored).

    Args:
        checkpoint: A file in the folder `checkpoints` of a run directory.
        accelerator: Lightning's name of the device.
        data: Options of the run's data to change, such as `root` or `eval_views`; None values leave them as they were.
        files: Tables to write: paths by name in `PREDICTION_FILES`, those that are None left out.
        trusted: What the run's configuration may name beyond what every configuration may; see `gcp_repro.trust`.

    Returns:
        `val/loss`, `val/top1_error`, `val/top5_error`.

    Raises:
        DataError: The checkpoint or the configuration is not there, the checkpoint is damaged or no run's, or its weights
            do not fit the network, as when the data have another number or order of classes or the layer is another one.
        UnknownNameError: The run's data have no such option.
        UntrustedTargetError: The run's configuration names other objects than those of a training.
    """
    wanted = check_files(files or {})
    run = RunDirectory.of_checkpoint(checkpoint)
    for path, what in ((checkpoint, "checkpoint"), (run.config, "configuration of the run")):
        if not path.is_file():
            raise MissingPathError(
                f"scoring needs the {what} at {path}; there is no such file: pass checkpoint=RUN/checkpoints/last.ckpt"
            )
    config = read_config(run.config)
    changed = {name: value for name, value in (data or {}).items() if value is not None}
    for name, value in changed.items():
        if name not in config.data:
            raise UnknownNameError(f"option of the data of {run.config}", name, map(str, config.data))
        config.data[name] = value
    check_targets(config, str(run.config), trusted)
    state = _read_checkpoint(checkpoint)
    experiment = build_experiment(_without_initial_weights(config))
    if experiment.swap is not None:
        experiment.swap.set_stage(experiment.module, state["epoch"])
    _require_fit(experiment, state["state_dict"], checkpoint, run.config)
    recorded = read_json(run.result) if run.result.is_file() else {}
    _check_classes((state.get("data") or recorded).get("class_names"), experiment.datamodule, checkpoint)
    experiment.module.load_state_dict(state["state_dict"])
    recorder = PredictionRecorder()
    with ignore_irrelevant_warnings(), using(kept_solvers(state)):
        trainer = Trainer(
            accelerator=accelerator,
            devices=1,
            precision=config.trainer.precision,
            limit_val_batches=config.trainer.limit_val_batches,
            callbacks=[recorder],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.validate(experiment.module, experiment.datamodule, verbose=False)
    metrics = epoch_metrics(trainer)
    write_predictions(wanted, recorder, experiment.datamodule)
    whole = config.trainer.limit_val_batches == 1.0 and changed.keys() <= WITHOUT_EFFECT_ON_SCORES
    if whole and run.origin.is_file() and checkpoint.samefile(run.last):
        device = trainer.strategy.root_device
        write_json(run.result, build_imported_result(config, experiment, read_json(run.origin), metrics, device))
    return metrics


def _read_checkpoint(path: Path) -> dict[str, Any]:
    state = load_plain(path)
    if not isinstance(state, dict) or not {"state_dict", "epoch"} <= state.keys():
        raise DataError(
            f"scoring needs a checkpoint of a run; {path} has no 'state_dict' and 'epoch': make a run of it with gcp-import"
        )
    return state


def _without_initial_weights(config: DictConfig) -> DictConfig:
    """The configuration without the weights that training started from: all of them are in the checkpoint."""
    config = config.copy()
    backbone = config.model.get("backbone") or {}
    for option, value in (("pretrained", False), ("checkpoint", None)):
        if option in backbone:
            backbone[option] = value
    return config


def _require_fit(experiment: Experiment, weights: dict[str, Tensor], checkpoint: Path, config: Path) -> None:
    """Refuse weights that are not those of the module."""
    shapes, found = _shapes(experiment.module.state_dict()), _shapes(weights)
    different = [name for name in {**found, **shapes} if found.get(name) != shapes.get(name)]
    if different:
        name = different[0]
        data: Any = experiment.datamodule
        raise DataError(
            f"scoring needs the network that the weights are from; {checkpoint} and {config}, with {data.num_classes} classes of "
            f"data {label_of(data)!r}, differ in {len(different)} of their tensors, as {name}: {found.get(name, 'none')} in the "
            f"checkpoint, {shapes.get(name, 'none')} in the network: correct data and model in config.yaml"
        )


def _check_classes(trained: Sequence[str] | None, data: Any, checkpoint: Path) -> None:
    """Compare the names of the classes with those that the weights were trained on.

    Raises:
        DataError: A class has another number than in training.
    """
    names = [printable(name) for name in data.class_names or ()]
    trained = [printable(name) for name in trained or ()]
    if not trained or not names or names == trained:
        return
    numbers = {name: number for number, name in enumerate(trained)}
    moved = [
        f"{name} is {number}, was {numbers[name]}" for number, name in enumerate(names) if numbers.get(name, number) != number
    ]
    if moved:
        raise DataError(
            f"scoring needs classes in the order of training; of those in {checkpoint} others are in their places now: "
            f"{'; '.join(moved[:5])}: set data.root to a set of the same classes, or data.classes to those of training"
        )
    other = [f"{name} stands for {old}" for name, old in zip(names, trained, strict=True) if name != old]
    log.warning("%d of %d classes have other names than in training: %s", len(other), len(names), ", ".join(other[:5]))


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Of all but the entry that says which layer they were trained with: that is checked when they are loaded."""
    return {name: tuple(value.shape) for name, value in weights.items() if not is_extra_state(name)}


def find_checkpoint(run: str | None, checkpoint: str | None) -> Path:
    """The file that `run=DIR` or `checkpoint=PATH` stands for; the last checkpoint of a run.

    Raises:
        OptionError: None of the two is given, or both are.
    """
    if (run is None) == (checkpoint is None):
        raise OptionError(
            f"gcp-eval needs one of run=DIRECTORY and checkpoint=FILE; got run={run}, checkpoint={checkpoint}: give one"
        )
    return user_path(checkpoint) if checkpoint is not None else RunDirectory(user_path(str(run))).last
