"""Optional loggers, for `metrics.csv` is written in any case: what each needs, and Weights & Biases."""

from __future__ import annotations

import importlib.util
import netrc
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit
from uuid import uuid4

import wandb
from pytorch_lightning.loggers import WandbLogger

from gcp_repro.errors import OptionError
from gcp_repro.user_paths import user_path

__all__ = ["check_loggers", "has_wandb_key", "remembered", "wandb_logger"]

PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "mlflow": ("mlflow",), "trackio": ("trackio",)}
"""Of the configurations of the group `logger`: one of these is needed."""
LONGEST_TAG = 64
HOST = "api.wandb.ai"  # where keys of older releases are kept; newer ones name the host that they are set to


def check_loggers(names: Iterable[str]) -> None:
    """Refuse a logger whose package is not there, before any work.

    Args:
        names: Keys of the configuration's node `logger`.

    Raises:
        OptionError: "logger=mlflow needs the package mlflow, which is not installed: ..."
    """
    for name in names:
        packages = PACKAGES.get(name, ())
        if packages and not any(importlib.util.find_spec(package) for package in packages):
            raise OptionError(
                f"logger={name} needs the package {packages[0]}, which is not installed: pip install 'gcp_repro[{name}]', or "
                "choose another logger"
            )


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
) -> WandbLogger:
    """A logger whose curves have the epoch as x axis; those of `step/` have the step.

    Args:
        name: Of the run, as its directory is called.
        group: What a sweep's runs have in common.
        job_type: The protocol.
        project: Where the runs are gathered.
        entity: User or team; None for the key's own.
        tags: To filter by; W&B takes 64 characters of each.
        mode: "auto" is online where a key is set and offline, without asking for one, where none is.
        save_dir: Folder that gets a folder `wandb` with the run's files.
    """
    if mode == "auto":
        mode = "online" if has_wandb_key() else "offline"
    online_only: dict[str, Any] = {"resume": "allow"} if mode == "online" else {}
    logger = WandbLogger(
        name=name,
        group=group,
        job_type=job_type,
        project=project,
        entity=entity,
        tags=list(dict.fromkeys(tag[:LONGEST_TAG] for tag in tags)),
        save_dir=str(Path(save_dir).resolve()),  # W&B's service may have been started in another folder
        offline=mode == "offline",
        id=_number_of_agent() or remembered(Path(save_dir) / "wandb" / "run-id.txt", lambda: uuid4().hex[:12]),
        **online_only,
    )
    logger.experiment.define_metric("*", step_metric="epoch")
    logger.experiment.define_metric("step/*", step_metric="step/number")
    return logger


def _number_of_agent() -> str | None:
    """The run that an agent of W&B has announced; None where no agent has started this process."""
    return os.environ.get("WANDB_RUN_ID") if os.environ.get("WANDB_SWEEP_ID") else None


def remembered(path: Path, make: Callable[[], str]) -> str:
    """A name that is the same for all sessions of a run that is stopped and resumed.

    Args:
        path: Where it is kept, in the run directory.
        make: Gives the name at first.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(make(), encoding="utf-8")
    return path.read_text(encoding="utf-8")


def has_wandb_key() -> bool:
    """Whether a key is in the environment or in the netrc file, the two places where `wandb login` leaves it."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    path = user_path(os.environ.get("NETRC", "~/.netrc"))
    try:
        keys = netrc.netrc(path)
    except (OSError, netrc.NetrcParseError):
        return False
    own = os.environ.get("WANDB_BASE_URL") or wandb.Settings().base_url
    hosts = (HOST, urlsplit(own).netloc)
    return any(keys.authenticators(host) is not None for host in hosts)
