"""Run directories as gcp-train leaves them, with made-up numbers: one run, a whole sweep, and broken ones."""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path

import numpy as np

from gcp_repro.paper.store.experiments import configured_setting
from gcp_repro.runs.schema import SCHEMA

LAYERS = ("gap", "isqrt_cov", "svd_pade", "svd_taylor", "svd_newton", "svd_trunc", "svd_topn", "mpn_cov", "svd_lyapunov")
EPOCHS, SWAP = 15, 9
OFFSETS = {"gap": 2.6, "svd_topn": 0.3}


def write_run(
    root: Path,
    experiment: str = "digits",
    meta_layer: str = "isqrt_cov",
    protocol: str = "standalone",
    seed: int = 0,
    dtype: str | None = "float64",
    status: str = "finished",
    final: float | None = None,
    **changes: object,
) -> Path:
    """A run directory; `changes` replace entries of result.json, and an entry of `None` there is left out."""
    identity = json.dumps([experiment, meta_layer, dtype, protocol, seed, changes], sort_keys=True, default=str)
    config_hash = str(changes.get("config_hash", hashlib.sha256(identity.encode()).hexdigest()[:8]))
    folder = root / experiment / f"{meta_layer}-{dtype}-{protocol}-seed{seed}-{config_hash}"
    folder.mkdir(parents=True)
    noise = np.random.default_rng([seed, len(meta_layer), len(protocol), len(dtype or "")])
    error = (
        final if final is not None else 3.2 + OFFSETS.get(meta_layer, 0.0) + 5 * (dtype == "float32" and meta_layer == "mpn_cov")
    )
    error = float(error if final is not None else error + 0.3 * np.random.default_rng(seed).normal() + 0.1 * noise.normal())
    epochs = 6 if status == "diverged" else EPOCHS
    _write_metrics(folder, meta_layer, protocol, epochs, error, noise)
    setting = {**(configured_setting(experiment) or {}), **changes.pop("setting", {})}  # type: ignore[dict-item]
    setting["schedule.epochs"] = changes.get("epochs", setting.get("schedule.epochs", EPOCHS))
    (folder / "config.yaml").write_text(f"seed: {seed}\nmeta_layer:\n  name: {meta_layer}\n")
    result = {
        "schema": SCHEMA, "status": status, "experiment": experiment, "data": experiment, "backbone": "narrow_alexnet",
        "meta_layer": meta_layer,
        "route": None if meta_layer == "gap" else "dense", "dtype": dtype, "protocol": protocol,
        "warmup_epochs": 1 if protocol == "hybrid" else None, "swap_epoch": SWAP if protocol == "hybrid" else None, "seed": seed,
        "protocol_options": "", "setting": setting, "planned_epochs": setting["schedule.epochs"],
        "epochs": epochs, "final_top1_error": error, "final_top5_error": error / 10, "final_loss": error / 30,
        "best_top1_error": error - 0.1, "best_top5_error": error / 11, "best_epoch": 12, "wall_time_seconds": 4.2,
        "samples_per_second": 900.0, "device": "cpu", "precision": "32-true", "num_parameters": 48000,
        "versions": {"python": "3.11.2", "torch": "2.6.0", "gcp_repro": "0.1.0"}, "git_revision": "0123456789abcdef",
        "config_hash": config_hash,
    }  # fmt: skip
    if status == "diverged":
        result |= dict.fromkeys(("final_top1_error", "final_top5_error", "final_loss")) | {
            "message": "loss became NaN in epoch 6"
        }
    result |= changes
    content = {key: value for key, value in result.items() if value is not None or key not in changes}
    (folder / "result.json").write_text(json.dumps(content))
    return folder


def write_import(root: Path, name: str, **changes: object) -> Path:
    """Imported weights as gcp-import and gcp-eval leave them; `changes` replace entries of result.json."""
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    (folder / "import.json").write_text("{}")
    result = {
        "schema": SCHEMA, "status": "imported", "experiment": "imported_resnet50", "data": "imagenet", "backbone": "resnet50",
        "meta_layer": "spectral", "meta_layer_options": "gradient=pade", "route": "dense", "dtype": "float64", "epochs": 60,
        "final_top1_error": 22.9, "final_top5_error": 6.7, "final_loss": 0.9, "device": "cpu", "num_parameters": 3,
        "versions": {"torch": "2.6.0"}, "config_hash": "abcd1234", "imported_file": f"{name}.pth.tar",
        "imported_sha256": "00", "imported_architecture": "resnet50", "imported_meta_layer": "svd_pade",
        "imported_best_top1_accuracy": 77.2,
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(result | changes))
    return folder


def write_sweep(root: Path, experiment: str = "digits", layers: tuple[str, ...] = LAYERS, seeds: int = 5) -> list[Path]:
    """The digits sweep of `make reproduce`, float32 runs included, one of them diverged."""
    runs = []
    for seed in range(seeds):
        for layer in layers:
            runs.append(write_run(root, experiment, layer, "standalone", seed, dtype=None if layer == "gap" else "float64"))
            if layer not in ("gap", "isqrt_cov"):
                runs.append(write_run(root, experiment, layer, "hybrid", seed))
        for layer in ("isqrt_cov", "mpn_cov"):
            if layer in layers:
                status = "diverged" if (layer, seed) == ("mpn_cov", 3) else "finished"
                runs.append(write_run(root, experiment, layer, "standalone", seed, dtype="float32", status=status))
    return runs


def write_broken(root: Path) -> dict[str, Path]:
    """What goes wrong in practice, by name."""
    interrupted = write_run(root, "broken", "svd_pade", seed=0)
    (interrupted / "result.json").unlink()
    half_written = write_run(root, "broken", "svd_taylor", seed=0)
    (half_written / "result.json").write_text('{"schema": 2, "status": "fin')
    old_schema = write_run(root, "broken", "svd_trunc", seed=0, schema=0)
    no_layer = write_run(root, "broken", "mpn_cov", seed=0)
    (no_layer / "result.json").write_text((no_layer / "result.json").read_text().replace('"meta_layer": "mpn_cov", ', ""))
    no_error = write_run(root, "broken", "svd_topn", seed=0, final_top1_error=None)
    no_curves = write_run(root, "whole", "gap", seed=0, dtype=None)
    (no_curves / "metrics.csv").write_text("")
    foreign = root / "photographs"
    (foreign / "holiday").mkdir(parents=True)
    (foreign / "holiday" / "beach.jpg").write_bytes(b"\xff\xd8")
    return {
        "interrupted": interrupted, "half_written": half_written, "old_schema": old_schema, "no_layer": no_layer,
        "no_error": no_error,
        "no_curves": no_curves, "foreign": foreign,
    }  # fmt: skip


def cells_of(table, layer, dtype=None):
    """The cells of a layer's first row by group and column."""
    row = next(row for row in table.rows if row[0].text == layer and dtype in (None, row[2].text))
    return {(column.group, column.name): cell for column, cell in zip(table.columns, row, strict=True)}


def _write_metrics(folder: Path, layer: str, protocol: str, epochs: int, final: float, noise: np.random.Generator) -> None:
    names = (
        "epoch", "train/top1_error", "train/top5_error", "train/loss",
        "val/top1_error", "val/top5_error", "val/loss", "diagnostics/condition_number",
        "diagnostics/condition_number_rank", "diagnostics/beta_smoothness", "diagnostics/gradient_error",
        "learning_rate", "meta_layer", "seconds",
    )  # fmt: skip
    lines = [",".join(names)]
    for epoch in range(epochs):
        active = "isqrt_cov" if protocol == "hybrid" and epoch < SWAP else layer
        decay = math.exp(-epoch / 2.5)
        error = final + 40 * decay + 0.2 * noise.normal() * decay
        gradient_error = "" if layer == "gap" else f"{10 ** (-3 + 0.3 * noise.normal()):.3e}"
        values = (
            epoch, error * 0.6, error * 0.06, error / 25, error, error / 10, error / 30, 3.4e14 * decay + 1e13,
            190 * decay + 10, 5 + 30 * decay, gradient_error, 0.1 * 0.1 ** (epoch // 5), active, 0.3,
        )  # fmt: skip
        lines.append(",".join(str(value) for value in values))
    (folder / "metrics.csv").write_text("\n".join(lines) + "\n")
