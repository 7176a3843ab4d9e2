"""What travels in a state dict beside the weights: which layer they were trained with, and a layer's random state."""

from __future__ import annotations

from typing import Any

from torch import nn

__all__ = ["EXTRA_STATE", "WithExtraState", "is_extra_state"]

EXTRA_STATE = "_extra_state"
"""torch's name for it in a state dict."""


def is_extra_state(name: str) -> bool:
    """Whether an entry of a network's state dict is no weight: which layer it was trained with, or a layer's random state."""
    return name.split(".")[-1] == EXTRA_STATE


class WithExtraState(nn.Module):
    """Base of modules with an extra state, a tensor, which stays as it is where a state dict has none."""

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, local_metadata: dict[str, Any], *strict_and_faults: Any
    ) -> None:
        own = {prefix + EXTRA_STATE: self.get_extra_state()}
        super()._load_from_state_dict({**own, **state_dict}, prefix, local_metadata, *strict_and_faults)
