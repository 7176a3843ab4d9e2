"""What a configuration may let a program do: the objects that its `_target_` entries may name.

Hydra calls whatever a configuration names. A run directory is passed on from hand to hand, and whoever scores it, looks at one
of its batches or trains on it must not thereby run code of whoever wrote it. So names are compared with a list before anything
is imported, and then once more with what they turn out to be, for a package that is trusted has modules in it that are not:
`gcp_repro.training.run.torch.hub.load` is `torch.hub.load`.

Imports: `errors`; of others `hydra`, `omegaconf`.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterable, Iterator
from typing import Any

from hydra.utils import get_object
from omegaconf import DictConfig, OmegaConf

from gcp_repro.errors import OptionError

__all__ = ["TRUSTED_VARIABLE", "UntrustedTargetError", "check_targets"]

TRUSTED_VARIABLE = "GCP_TRUSTED"
"""Environment variable: further names, separated by commas; one that ends with a dot stands for all in a package."""

PACKAGES = (
    "gcp_repro.", "torch.optim.", "torch.nn.", "timm.optim.", "pytorch_lightning.callbacks.", "pytorch_lightning.loggers.",
)  # fmt: skip
"""Packages whose classes of the kinds below may be named. Networks of timm come by `TimmBackbone`, which reads files itself."""
KINDS = frozenset({
    "torch.nn.modules.module.Module",
    "torch.optim.optimizer.Optimizer",
    "torch.optim.lr_scheduler.LRScheduler",
    "pytorch_lightning.core.datamodule.LightningDataModule",
    "pytorch_lightning.callbacks.callback.Callback",
    "pytorch_lightning.loggers.logger.Logger",
})  # fmt: skip
"""Base classes; a class of another kind, or a function, could be one that writes files or runs commands."""
FACTORIES = frozenset({
    "gcp_repro.metalayers.build_meta_layer",
    "gcp_repro.training.record.loggers.wandb_logger",
    "gcp_repro.training.record.mlflow_and_trackio.mlflow_logger",
    "gcp_repro.training.protocol.matching_run.MatchingRun",
})  # fmt: skip
"""What may be named besides."""


class UntrustedTargetError(OptionError):
    """A configuration names an object that is not on the list.

    Args:
        target: Its name.
        where: Place in the configuration.
        source: The configuration.
        reason: What is wrong with it.
    """

    def __init__(self, target: object, where: str, source: str, reason: str) -> None:
        super().__init__(
            f"a configuration may name modules, optimisers, data, callbacks and loggers of gcp_repro, torch, timm and Lightning "
            f"alone; got {target!r} for {where} in {source}, {reason}: if you know what it does and trust it, add "
            f"trusted=[{target}] to the command, or set {TRUSTED_VARIABLE}={target}"
        )
        self._arguments = (target, where, source, reason)

    def __reduce__(self) -> tuple[type[UntrustedTargetError], tuple[object, str, str, str]]:
        """Pickle by the arguments, so that the error can cross from a worker process."""
        return type(self), self._arguments


def check_targets(config: DictConfig, source: str, trusted: Iterable[str] = ()) -> None:
    """Refuse a configuration that names what is not trusted, anywhere in it.

    Args:
        config: Whole; the node `hydra` is that program's own affair.
        source: What to call it in a message: a file, or "the command".
        trusted: Names besides those of this module and of the environment variable `GCP_TRUSTED`; one that ends with a dot stands
            for all that a package defines.

    Raises:
        UntrustedTargetError: "a configuration may name ...; got 'torch.hub.load' for data._target_ in runs/x/config.yaml, ..."
    """
    own = {str(name) for name in (*trusted, *os.environ.get(TRUSTED_VARIABLE, "").split(",")) if name}
    content = OmegaConf.to_container(config, resolve=True, throw_on_missing=False)
    assert isinstance(content, dict)
    content.pop("hydra", None)
    targets = dict(_targets(content))
    for check in (_objection_to_name, _objection_to_object):  # all names come before the first import
        for where, target in targets.items():
            reason = check(target, own)
            if reason is not None:
                raise UntrustedTargetError(target, where, source, reason)


def _targets(content: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Place and value of every `_target_`."""
    if isinstance(content, dict):
        for key, value in content.items():
            if key == "_target_":
                yield f"{prefix}{key}", value
            else:
                yield from _targets(value, f"{prefix}{key}.")
    elif isinstance(content, list):
        for number, value in enumerate(content):
            yield from _targets(value, f"{prefix}{number}.")


def _objection_to_name(target: Any, own: set[str]) -> str | None:
    if not isinstance(target, str):
        return "which is no name"
    if target in own | FACTORIES:
        return None
    if not target.startswith((*PACKAGES, *_packages(own))):
        return "which is of another package"
    if any(part.startswith("_") for part in target.split(".")):
        return "which has a private part"
    return None


def _objection_to_object(target: str, own: set[str]) -> str | None:
    """Look at what a name that has passed stands for."""
    if target in own | FACTORIES:
        return None
    try:
        found = get_object(target)
    except Exception:  # whatever importing a package raises: Hydra says it better when it builds the object
        return None
    home = f"{getattr(found, '__module__', None)}."
    if inspect.ismodule(found) or not home.startswith((*PACKAGES, *_packages(own))):
        return f"which stands for an object of {home.rstrip('.')}" if not inspect.ismodule(found) else "which is a module"
    if home.startswith(_packages(own)):
        return None
    bases = {f"{base.__module__}.{base.__qualname__}" for base in inspect.getmro(found)} if inspect.isclass(found) else set()
    return None if bases & KINDS else "which is none of these"


def _packages(names: set[str]) -> tuple[str, ...]:
    return tuple(name for name in names if name.endswith("."))
