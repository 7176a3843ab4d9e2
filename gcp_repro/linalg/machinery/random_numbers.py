"""Random numbers as an operator of torch: they follow from a seed, the number of draws so far, and the process.

A generator of torch has no place in a compiled graph, and its numbers depend on the device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.ops import OPS

__all__ = ["uniform"]

_library = torch.library.Library("gcp_repro", "FRAGMENT")  # type: ignore[no-untyped-call]


def uniform(state: Tensor, features: Tensor) -> Tensor:
    """Numbers in [0, 1), one for each channel of `(B, C, N)`: `(B, C)` in float64; others in every process of a group.

    Under `torch.func.vmap` its `randomness` says whether they differ.

    Args:
        state: Seed and number of draws so far, int64, on the CPU.
        features: Give the sizes and the device.
    """
    numbers: Tensor = OPS.uniform(state, features.detach())
    return numbers


def _rank() -> int:
    group = torch.distributed
    return group.get_rank() if group.is_available() and group.is_initialized() else 0


def _uniform(state: Tensor, features: Tensor) -> Tensor:
    seed, draws = state.tolist()
    numbers = np.random.default_rng((seed, draws, _rank())).random(tuple(features.shape[:2]))
    return torch.tensor(numbers, device=features.device)


def _fake_uniform(state: Tensor, features: Tensor) -> Tensor:
    return features.new_empty(features.shape[:2], dtype=torch.float64)


def _mapped_uniform(info: Any, in_dims: tuple[None, int], state: Tensor, features: Tensor) -> tuple[Tensor, int | None]:
    features = features.movedim(in_dims[1], 0)
    if info.randomness == "same":
        return OPS.uniform(state, features[0]), None
    if info.randomness == "different":
        return OPS.uniform(state, features.flatten(0, 1)).unflatten(0, features.shape[:2]), 0
    raise OptionError(
        "dropout draws random numbers in training, and torch.func.vmap has to know whether they differ; got "
        f"randomness={info.randomness!r}: pass randomness='different' or 'same' to vmap, or call eval()"
    )


_library.define("uniform(Tensor state, Tensor features) -> Tensor")  # type: ignore[no-untyped-call]
_library.impl("uniform", _uniform, "CompositeExplicitAutograd")  # type: ignore[no-untyped-call]
torch.library.register_fake("gcp_repro::uniform", _fake_uniform, lib=_library)
torch.library.register_vmap("gcp_repro::uniform", _mapped_uniform, lib=_library)
