"""The files of a run directory, and the contents of `result.json`."""

from __future__ import annotations

import functools
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from gcp_repro.metalayers import META_LAYERS
from gcp_repro.training.build import Experiment, label_of
from gcp_repro.training.records import Row, RunRecorder
from gcp_repro.training.rundir import config_hash

__all__ = ["RunDirectory", "build_imported_result", "build_result", "git_revision"]

PACKAGES = ("torch", "torchvision", "pytorch-lightning", "numpy", "gcp_repro")


class RunDirectory:
    """Names of a run's files.

    Args:
        path: The directory; need not exist.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.csv"
        self.result = self.path / "result.json"
        self.origin = self.path / "import.json"
        self.checkpoints = self.path / "checkpoints"
        self.last = self.checkpoints / "last.ckpt"
        self.best = self.checkpoints / "best.ckpt"


def build_result(
    config: DictConfig, experiment: Experiment, recorder: RunRecorder, device: torch.device, *, diverged: str | None
) -> dict[str, Any]:
    """The flat record of a run that has ended.

    Args:
        config: Of the run, unresolved.
        experiment: Its objects.
        recorder: Its epochs.
        device: What it was trained on.
        diverged: Why it ended early, or None if it finished.

    Returns:
        The fields listed in docs/architecture.md. A diverged run has no final errors; the best are those of its complete
        epochs, None where there is none. `best_top5_error` is that of the best epoch in top-1 error.
    """
    swap, rows = experiment.swap, recorder.rows
    final: Row = rows[-1] if rows and diverged is None else {}
    best: Row = min(rows, key=lambda row: row["val/top1_error"]) if rows else {}
    return {
        "schema": 1,
        "status": "finished" if diverged is None else "diverged",
        **({} if diverged is None else {"message": diverged}),
        **_subject(config, experiment),
        "protocol": config.protocol.name,
        "warmup_epochs": config.protocol.warmup_epochs if swap else None,
        "swap_epoch": swap.swap_epoch if swap else None,
        "seed": config.seed,
        "epochs": len(rows),
        "final_top1_error": final.get("val/top1_error"),
        "final_top5_error": final.get("val/top5_error"),
        "final_loss": final.get("val/loss"),
        "best_top1_error": best.get("val/top1_error"),
        "best_top5_error": best.get("val/top5_error"),
        "best_epoch": best.get("epoch"),
        "wall_time_seconds": round(recorder.seconds, 3),
        "samples_per_second": round(recorder.samples / recorder.training_seconds, 1) if recorder.training_seconds else None,
        **_circumstances(config, experiment, device),
    }


def build_imported_result(
    config: DictConfig, experiment: Experiment, origin: Mapping[str, Any], metrics: Mapping[str, float], device: torch.device
) -> dict[str, Any]:
    """The flat record of imported weights that have been scored: what was trained elsewhere, and its errors here.

    Args:
        config: Of the import.
        experiment: Its objects.
        origin: Content of `import.json`.
        metrics: Of the validation split.
        device: What they were scored on.
    """
    return {
        "schema": 1,
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
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "num_parameters": sum(parameter.numel() for parameter in experiment.module.network.parameters()),
        **getattr(experiment.datamodule, "run_record", dict)(),
        "versions": versions(),
        "git_revision": git_revision(),
        "config_hash": config_hash(config),
    }


def layer_options(layer: DictConfig) -> str:
    """The options of a meta-layer that differ from its defaults, as in "top_n=14"; not precision, route and solver.

    Args:
        layer: Its configuration.
    """
    defaults = META_LAYERS[layer.name].defaults
    own = {str(name): value for name, value in layer.items() if name not in ("dtype", "route", "solver")}
    return ", ".join(f"{name}={value}" for name, value in own.items() if name in defaults and value != defaults[name])


@functools.lru_cache
def versions() -> dict[str, str]:
    """Python and the packages that numbers may depend on."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


@functools.lru_cache
def git_revision() -> str | None:
    """Commit of the checkout that this package runs from, with "-dirty" if files differ; None when it is installed."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
