"""Reading a file of weights without running any code that it may hold."""

from __future__ import annotations

import hashlib
import pickle
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gcp_repro.errors import DataError

__all__ = ["WeightFile", "read_weights"]


@dataclass(frozen=True)
class WeightFile:
    """What a checkpoint says.

    Attributes:
        path: The file.
        weights: Tensors by name, without the components `module` that DataParallel adds.
        architecture: The code bases' `arch`, if the file has it.
        epoch: Epochs trained, if the file has it.
        best_top1_accuracy: Their `best_prec1` in percent, if the file has it.
    """

    path: Path
    weights: dict[str, Tensor]
    architecture: str | None = None
    epoch: int | None = None
    best_top1_accuracy: float | None = None

    def sha256(self) -> str:
        """Hash of the file's bytes, in hexadecimal."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def read_weights(path: Path) -> WeightFile:
    """Read `{"state_dict": ..., "arch": ..., ...}` or a bare state dict.

    Only tensors and plain containers are unpickled (`weights_only=True`), so a file cannot run code.

    Raises:
        DataError: There is no such file, it is damaged, it needs code to be unpickled, or it holds no weights.
    """
    content = _load(path)
    if not isinstance(content, Mapping):
        raise DataError(
            f"a checkpoint needs a dictionary of tensors; {path} holds a {type(content).__name__}: save model.state_dict()"
        )
    facts = content if isinstance(content.get("state_dict"), Mapping) else {}
    return WeightFile(
        path,
        _tensors(facts.get("state_dict", content), path),
        architecture=str(facts["arch"]) if "arch" in facts else None,
        epoch=int(facts["epoch"]) if "epoch" in facts else None,
        best_top1_accuracy=float(facts["best_prec1"]) if "best_prec1" in facts else None,
    )


def _load(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"reading weights needs a file; there is none at {path}: correct the path")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        code = re.search(r"GLOBAL (\S+)", str(error))
        if code is None:
            raise _unreadable(path, error) from error
        raise DataError(
            f"a checkpoint must hold tensors and plain values alone; {path} needs the code of {code[1]}, and reading it could "
            "run any code: if you trust the file, load it with the program that wrote it, and torch.save(model.state_dict(), F)"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).split(". ")[0].splitlines() or [""]
    return DataError(
        f"a checkpoint needs to be a file of torch.save; reading {path} gave {type(error).__name__} ({reason[0]}): get it again"
    )


def _tensors(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict under names without DataParallel's `module`."""
    foreign = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if foreign or not state:
        came = f"others, as {foreign[0]!r}" if foreign else "nothing"
        raise DataError(
            f"a state dict needs tensors alone; that in {path} holds {came}: save model.state_dict(), alone or as 'state_dict'"
        )
    tensors = {".".join(part for part in str(name).split(".") if part != "module"): value for name, value in state.items()}
    if len(tensors) < len(state):
        raise DataError(f"a state dict needs each tensor once; {path} holds some with and without 'module.': save one of the two")
    return tensors
