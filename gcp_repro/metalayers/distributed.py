"""Features that are spread over processes along the batch, by `torch.distributed.tensor`: each process pools its own images."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gcp_repro.errors import ShapeError

__all__ = ["pool_spread"]


def pool_spread(forward: Callable[[Tensor], Tensor], features: Tensor) -> Tensor | None:
    """The output for spread features, spread alike; None for features that are not spread.

    Args:
        forward: The layer, for features of one process.
        features: `(B, C, H, W)` or `(B, C, N)`.

    Raises:
        ShapeError: They are spread along something else than the batch, so that no process has an image whole.
    """
    module = sys.modules.get("torch.distributed.tensor")
    if module is None or not isinstance(features, module.DTensor):
        return None
    spread: Any = features
    if not all(placement.is_replicate() or placement.is_shard(0) for placement in spread.placements):
        raise ShapeError(
            f"features that are spread over processes need whole images on each; got placements {spread.placements}: "
            "redistribute them to Shard(0)"
        )
    local = forward(spread.to_local())
    shape = (features.shape[0], *local.shape[1:])
    stride = torch.empty(shape, device="meta").stride()
    pooled: Tensor = module.DTensor.from_local(
        local, spread.device_mesh, spread.placements, run_check=False, shape=torch.Size(shape), stride=stride
    )
    return pooled
