"""Weights & Biases as an optional logger; `metrics.csv` is written in any case."""

from __future__ import annotations

import netrc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pytorch_lightning.loggers import WandbLogger

__all__ = ["has_wandb_key", "wandb_logger"]

HOST = "api.wandb.ai"


def wandb_logger(
    *,
    name: str,
    group: str,
    job_type: str,
    project: str,
    entity: str | None = None,
    tags: Sequence[str] = (),
    mode: Literal["auto", "online", "offline"] = "auto",
    save_dir: str = ".",
    config: dict[str, Any] | None = None,
) -> WandbLogger:
    """A logger whose curves have the epoch as x axis.

    Args:
        name: Of the run, as its directory is called.
        group: What a sweep's runs have in common.
        job_type: The protocol.
        project: Where the runs are gathered.
        entity: User or team; None for the key's own.
        tags: To filter by.
        mode: "auto" is online where a key is set and offline, without asking for one, where none is.
        save_dir: Folder that gets a folder `wandb` with the run's files.
        config: The whole configuration.
    """
    if mode == "auto":
        mode = "online" if has_wandb_key() else "offline"
    Path(save_dir).mkdir(parents=True, exist_ok=True)
    logger = WandbLogger(
        name=name,
        group=group,
        job_type=job_type,
        project=project,
        entity=entity,
        tags=list(tags),
        save_dir=save_dir,
        offline=mode == "offline",
        config=config,
    )
    logger.experiment.define_metric("*", step_metric="epoch")
    return logger


def has_wandb_key() -> bool:
    """Whether a key is in the environment or in the netrc file, the two places where `wandb login` leaves it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    try:
        return netrc.netrc(path).authenticators(HOST) is not None
    except (OSError, netrc.NetrcParseError):
        return False
