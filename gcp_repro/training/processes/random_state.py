"""torch's random state, on the CPU and on a GPU, as plain tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["RandomState"]


@dataclass(frozen=True)
class RandomState:
    """State of torch's generators.

    Attributes:
        cpu: `torch.get_rng_state()`; None where nothing was noted.
        cuda: That of the device in use, if it is a GPU.
    """

    cpu: Tensor | None = None
    cuda: Tensor | None = None

    @classmethod
    def now(cls, device: torch.device) -> RandomState:
        """The present one."""
        return cls(torch.get_rng_state(), torch.cuda.get_rng_state(device) if device.type == "cuda" else None)

    def state_dict(self) -> dict[str, Any]:
        """For a file."""
        return {"cpu": self.cpu, "cuda": self.cuda}

    def restore(self, device: torch.device) -> None:
        """Make it the present one, as far as the device has one."""
        if self.cpu is not None:
            torch.set_rng_state(self.cpu)
        if self.cuda is not None and device.type == "cuda":
            torch.cuda.set_rng_state(self.cuda, device)
