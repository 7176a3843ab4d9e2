"""The contents of `result.json`: of a run that has ended, and of imported weights that were scored."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gcp_repro.errors import DivergedError
from gcp_repro.metalayers import COMMON_OPTIONS, META_LAYERS
from gcp_repro.runs.files import Row
from gcp_repro.runs.identity import config_hash, setting_of
from gcp_repro.runs.schema import SCHEMA
from gcp_repro.training.build import Experiment, label_of, learning_rate
from gcp_repro.training.loop.checkpoints import best_row
from gcp_repro.training.processes.batches import BatchShare
from gcp_repro.training.record.records import RunRecorder
from gcp_repro.user_paths import printable

__all__ = ["build_imported_result", "build_result", "git_revision"]

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "gcp_repro")
CODE = ("gcp_repro", "configs", "scripts", "pyproject.toml")
"""What of a checkout decides what a run computes."""


def build_result(
    config: DictConfig,
    experiment: Experiment,
    recorder: RunRecorder,
    share: BatchShare,
    device: torch.device,
    *,
    diverged: DivergedError | None,
    solver: str | None = None,
) -> dict[str, Any]:
    """The record of a run that has ended.

    Args:
        config: Of the run, unresolved.
        experiment: Its objects.
        recorder: Its epochs.
        share: How its batches were shared out.
        device: What it was trained on.
        diverged: Why it ended early, or None if it finished.
        solver: What the layers took where they had a choice.

    Returns:
        The fields of `gcp_repro.runs.schema`. A diverged run has no final errors; the best are those of its complete epochs,
        None where there is none.
    """
    swap, rows = experiment.swap, recorder.rows
    final: Row = rows[-1] if rows and diverged is None else {}
    best: Row = best_row(rows) or {}
    return {
        "schema": SCHEMA,
        "status": "finished" if diverged is None else "diverged",
        **({} if diverged is None else _divergence(diverged)),
        **_subject(config, experiment),
        "protocol": config.protocol.name,
        "warmup_epochs": config.protocol.warmup_epochs if swap else None,
        "protocol_options": protocol_options(config),
        "swap_epoch": swap.swap_epoch if swap else None,
        "seed": config.seed,
        "setting": setting_of(config) | batch_norm_setting(experiment.module.network, share),
        "learning_rate": learning_rate(config),
        "planned_epochs": planned_epochs(config, experiment),
        "epochs": len(rows),
        "solver": solver,
        "final_top1_error": final.get("val/top1_error"),
        "final_top5_error": final.get("val/top5_error"),
        "final_loss": final.get("val/loss"),
        "best_top1_error": best.get("val/top1_error"),
        "best_top5_error": best.get("val/top5_error"),
        "best_epoch": best.get("epoch"),
        "skipped_steps": experiment.module.finite_steps.skipped,
        "wall_time_seconds": round(recorder.seconds, 3),
        "samples_per_second": recorder.speed,
        "world_size": share.world_size,
        "batch_size": share.batch_size,
        "local_batch_size": share.local_batch_size,
        **_circumstances(config, experiment, device),
    }


def _divergence(error: DivergedError) -> dict[str, Any]:
    return {
        "message": str(error),
        "diverged_epoch": error.epoch,
        "diverged_batch": error.batch,
        "diverged_cause": error.cause,
    }


def planned_epochs(config: DictConfig, experiment: Experiment) -> int:
    """Length of a run that nothing stops."""
    limit: int | None = config.trainer.max_epochs
    return experiment.schedule.epochs if limit is None else min(limit, experiment.schedule.epochs)


def batch_norm_setting(network: nn.Module, share: BatchShare) -> dict[str, int]:
    """What batch norm makes of the number of processes: over how many images each takes its statistics, if not over a step's."""
    layers = [layer for layer in network.modules() if isinstance(layer, _BatchNorm)]
    apart = any(not isinstance(layer, nn.SyncBatchNorm) for layer in layers)
    images = share.local_batch_size if apart else share.local_batch_size * share.world_size
    return {"batch_norm_images": images} if layers and images != share.batch_size else {}


def build_imported_result(
    config: DictConfig, experiment: Experiment, origin: Mapping[str, Any], metrics: Mapping[str, float], device: torch.device
) -> dict[str, Any]:
    """The record of imported weights that have been scored: what was trained elsewhere, and its errors here.

    Args:
        config: Of the import.
        experiment: Its objects.
        origin: Content of `import.json`.
        metrics: Of the validation split.
        device: What they were scored on.
    """
    return {
        "schema": SCHEMA,
        "status": "imported",
        **_subject(config, experiment),
        "epochs": origin["epochs"],
        "final_top1_error": metrics["val/top1_error"],
        "final_top5_error": metrics["val/top5_error"],
        "final_loss": metrics["val/loss"],
        **_circumstances(config, experiment, device),
        **{f"imported_{name}": origin[name] for name in ("file", "sha256", "architecture", "meta_layer", "best_top1_accuracy")},
    }


def _subject(config: DictConfig, experiment: Experiment) -> dict[str, Any]:
    """What was trained, on what."""
    layer = config.meta_layer
    return {
        "experiment": config.experiment_name,
        "data": label_of(experiment.datamodule),
        "backbone": label_of(experiment.module.network.backbone),
        "meta_layer": layer.name,
        "meta_layer_options": layer_options(layer),
        "route": layer.get("route"),
        "dtype": layer.get("dtype"),
    }


def _circumstances(config: DictConfig, experiment: Experiment, device: torch.device) -> dict[str, Any]:
    """Where, with how much, and by which versions."""
    data: Any = experiment.datamodule
    names = getattr(data, "class_names", None)
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "precision": str(config.trainer.precision),
        "num_parameters": sum(parameter.numel() for parameter in experiment.module.network.parameters()),
        "num_classes": data.num_classes,
        "class_names": None if names is None else list(map(printable, names)),
        **getattr(data, "run_record", dict)(),
        "versions": versions(),
        "git_revision": git_revision(),
        "config_hash": config_hash(config),
    }


def layer_options(layer: DictConfig) -> str:
    """The options of a meta-layer that differ from its defaults, as in "top_n=14"; not precision and route, and no layout.

    Those of every layer (`heads`, `shrinkage`) and of a chosen function or rule (`degree`) are among them.

    Args:
        layer: Its configuration.
    """
    defaults = {**COMMON_OPTIONS, **META_LAYERS[layer.name].defaults}
    own = {str(name): value for name, value in layer.items() if name not in ("_target_", "name", "dtype", "route", "layout")}
    return _listed({name: value for name, value in own.items() if name not in defaults or value != defaults[name]})


def protocol_options(config: DictConfig) -> str:
    """The options of the hybrid protocol that differ from its defaults, as in "placement=added, initial.route=auto".

    Its first layer is by default Newton-Schulz with the precision, route and solver of the configured layer.
    """
    protocol = config.protocol
    if protocol.name != "hybrid":
        return ""
    usual = {**META_LAYERS["isqrt_cov"].defaults, "name": "isqrt_cov"}
    usual |= {name: config.meta_layer[name] for name in ("dtype", "route", "solver", "on_nonfinite") if name in config.meta_layer}
    initial: Any = OmegaConf.to_container(protocol.initial, resolve=True)
    different = {f"initial.{name}": value for name, value in initial.items() if name in usual and value != usual[name]}
    return _listed(({} if protocol.placement == "taken" else {"placement": protocol.placement}) | different)


def _listed(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in options.items())


@functools.lru_cache
def versions() -> dict[str, str]:
    """Python and the packages that numbers may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


@functools.lru_cache
def git_revision() -> str | None:
    """Commit of the checkout that this package runs from; None when it is installed.

    With "-dirty" if code differs from the commit or is not under version control.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        revision = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", *CODE)
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{revision}-dirty" if changed else revision


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
