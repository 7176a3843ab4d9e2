"""What is done to the upper triangle of a matrix before it leaves a layer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from gcp_repro.linalg.covariance import diagonal_of_triangle
from gcp_repro.linalg.signed_root import signed_root_and_normalise

__all__ = ["Finish", "Scaling"]

Scaling = Literal["none", "power", "tangent"]


@dataclass(frozen=True)
class Finish:
    """Scaling of a matrix power, then a signed root; what a layer does by default is nothing.

    Attributes:
        scaling: `"power"` divides by the exponent, and `"tangent"` takes the identity away first.
        exponent: `t`, of the matrix power.
        signed_root: End with the signed square root of every entry and division by the l2 norm.
    """

    scaling: Scaling = "none"
    exponent: float = 1.0
    signed_root: bool = False

    @property
    def changes_nothing(self) -> bool:
        """Whether what a layer gives is the upper triangle itself."""
        return self.scaling == "none" and not self.signed_root

    def __str__(self) -> str:
        scaled = "" if self.scaling == "none" else f", {self.scaling} scaling"
        return f"{scaled}{', signed root' if self.signed_root else ''}"

    def dtype(self, features: torch.dtype) -> torch.dtype:
        """In which the upper triangle is needed, for features of a dtype."""
        return torch.float64 if self.signed_root or self.scaling != "none" else features

    def __call__(self, pooled: Tensor, dtype: torch.dtype) -> Tensor:
        """Finish `(B, C (C + 1) / 2)`, row by row, and give it the dtype."""
        if self.scaling == "tangent":
            pooled = pooled - diagonal_of_triangle(pooled)
        if self.scaling != "none":
            pooled = pooled / self.exponent
        return signed_root_and_normalise(pooled.double(), dtype) if self.signed_root else pooled.to(dtype)
