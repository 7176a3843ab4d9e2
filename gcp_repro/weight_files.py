"""Reading a file of weights without running any code that it may hold.

Imports: `runs`, `stand_ins`.
"""

from __future__ import annotations

import hashlib
import math
import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.serialization import safe_globals

from gcp_repro.errors import DataError, MissingPathError
from gcp_repro.runs.integrity import damage
from gcp_repro.stand_ins import refuse_stand_in

__all__ = ["WeightFile", "load_plain", "read_weights"]

STATE_DICTS = ("state_dict", "model", "model_state_dict")
"""Keys under which a checkpoint keeps its tensors; without any of them it is a bare state dict."""

WRAPPERS = ("module", "_orig_mod")
"""Components of names that DataParallel and torch.compile add."""


@dataclass(frozen=True)
class WeightFile:
    """What a checkpoint says.

    Attributes:
        path: The file.
        weights: Tensors by name, without the components that DataParallel and torch.compile add.
        architecture: The code bases' `arch`, if the file has it.
        epoch: Epochs trained, if the file has it.
        best_top1_accuracy: Their `best_prec1`, or DropCov's `best_acc1`, in percent, if the file has it.
        modules: Names of the network's modules, also of those without tensors; empty if the file has lost them.
    """

    path: Path
    weights: dict[str, Tensor]
    architecture: str | None = None
    epoch: int | None = None
    best_top1_accuracy: float | None = None
    modules: frozenset[str] = frozenset()

    def sha256(self) -> str:
        """Hash of the file's bytes, in hexadecimal."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()


def read_weights(path: Path) -> WeightFile:
    """Read `{"state_dict": ..., "arch": ..., ...}`, a bare state dict, or a file of safetensors.

    Raises:
        DataError: There is no such file, it is damaged, it needs code to be unpickled, or it holds no weights.
    """
    content = load_plain(path)
    if not isinstance(content, Mapping):
        raise DataError(
            f"a checkpoint needs a dictionary of tensors; {path} holds a {type(content).__name__}: save model.state_dict()"
        )
    key = next((key for key in STATE_DICTS if isinstance(content.get(key), Mapping)), None)
    state, facts = (content, {}) if key is None else (content[key], content)
    epoch, accuracy = _number(facts.get("epoch")), _number(facts.get("best_prec1", facts.get("best_acc1")))
    return WeightFile(
        path,
        _tensors(state, path),
        architecture=facts["arch"] if isinstance(facts.get("arch"), str) else None,
        epoch=None if epoch is None else int(epoch),
        best_top1_accuracy=accuracy,
        modules=frozenset(map(_plain_name, getattr(state, "_metadata", ()))),
    )


def load_plain(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU, if it is made of tensors and plain values alone (`weights_only=True`).

    Numbers of NumPy come as plain numbers; its arrays and the arguments of a command line (`argparse.Namespace`) as
    placeholders without content. Whatever else would need code to be unpickled is refused before any of it runs.

    Raises:
        DataError: There is no such file, it is damaged, or it needs code to be unpickled.
    """
    if not path.is_file():
        raise MissingPathError(f"reading weights needs a file; there is none at {path}: correct the path")
    refuse_stand_in(path)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if zipfile.is_zipfile(path) and (fault := damage(path)) is not None:
            raise DataError(f"a checkpoint needs to be as it was written; {path} is not: {fault}: get it again")
        with safe_globals(_STAND_INS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except DataError:
        raise
    except Exception as error:  # torch.load raises whatever the damaged file makes it raise
        code = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        if code is None:
            raise _unreadable(path, error) from error
        raise DataError(
            f"a checkpoint must hold tensors and plain values alone; {path} needs the code of {code[1]}, and reading it could "
            "run any code: if you trust the file, load it with the program that wrote it, and torch.save(model.state_dict(), F)"
        ) from error


class _Placeholder:
    """Stands for an object that no weights depend on; it ignores whatever it is made of."""

    def __init__(self, *arguments: object) -> None: ...

    def __setstate__(self, state: object) -> None: ...


class _NumpyType:
    """Stands for `numpy.dtype` in the pickle of a number."""

    def __init__(self, code: str, *flags: object) -> None:
        self.code, self.order = code, "="

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1] if state[1] in ("<", ">") else "="


def _numpy_scalar(kind: _NumpyType, content: bytes) -> Any:
    """Stands for NumPy's function that restores a number from its bytes; there is none for Python objects."""
    return np.frombuffer(content, np.dtype(kind.order + kind.code))[0].item()


_NUMPY_MODULES = ("numpy._core.multiarray", "numpy.core.multiarray")  # since NumPy 2, and before
_STAND_INS: list[Any] = [
    (_NumpyType, "numpy.dtype"),
    *((_numpy_scalar, f"{module}.scalar") for module in _NUMPY_MODULES),
    (_Placeholder, "numpy.ndarray"),
    *((_Placeholder, f"{module}._reconstruct") for module in _NUMPY_MODULES),
    (_Placeholder, "argparse.Namespace"),
]
"""What is called in place of the named code when a file is read."""


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = (str(error).split(". ")[0].splitlines() or [""])[0]
    return DataError(
        f"a checkpoint needs to be a file of torch.save; reading {path} gave {type(error).__name__}{reason and f' ({reason})'}: "
        "get it again, or save model.state_dict() with torch.save"
    )


def _number(value: object) -> float | None:
    """A finite number of any kind, a tensor of one element included; None for anything else."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, RuntimeError):
        return None
    return number if math.isfinite(number) else None


def _plain_name(name: object) -> str:
    return ".".join(part for part in str(name).split(".") if part not in WRAPPERS)


def _tensors(state: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """The tensors of a state dict under names without what wrappers add."""
    foreign = [name for name, value in state.items() if not isinstance(value, Tensor)]
    if foreign or not state:
        came = f"others, as {foreign[0]!r}" if foreign else "nothing"
        raise DataError(
            f"a state dict needs tensors alone; that in {path} holds {came}: save model.state_dict(), alone or as 'state_dict'"
        )
    tensors = {_plain_name(name): value for name, value in state.items()}
    if len(tensors) < len(state):
        raise DataError(f"a state dict needs each tensor once; {path} holds some with and without 'module.': save one of the two")
    return tensors
