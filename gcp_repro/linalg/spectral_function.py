"""What a spectral function is, and the registry of them; those of this package are in `functions.py`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from gcp_repro.linalg.machinery.parts import Part, Parts

__all__ = ["SPECTRAL_FUNCTIONS", "GradientTable", "SpectralFunction", "register_function", "spectral_function"]


class GradientTable(NamedTuple):
    """The derivative of a spectral function in the eigenbasis.

    With `H = U^T G U` for the symmetric upstream gradient `G`, the gradient is `U M U^T` with
    `M = table * H + sum(weights * diag(H)) diag(direction)`. The second term is there for functions that first divide the
    matrix by a norm of its own (trace, Frobenius), whose derivative has the given direction.

    Attributes:
        table: `(..., n, n)`, symmetric.
        weights: `(..., n)` or `None`.
        direction: `(..., n)` or `None`.
    """

    table: Tensor
    weights: Tensor | None = None
    direction: Tensor | None = None

    def within_range(self, scale: Tensor, dtype: torch.dtype) -> tuple[Tensor, GradientTable]:
        """The first row, which stands for pairs with the null space, and the rest less that row, with their columns scaled.

        Less that row, because `U (R * H) + (I - U U^T) G U diag(r)`, with `r` the row and `R` the rest, is
        `U ((R - r) * H) + G U diag(r)`.

        Args:
            scale: `(..., n - 1)`, of the columns of `M`.
            dtype: Of the results.
        """
        columns = scale.unsqueeze(-2)
        to_null = self.table[..., :1, 1:]
        rest = (self.table[..., 1:, 1:] - to_null).mul_(columns).to(dtype)
        weights = None if self.weights is None else self.weights[..., 1:].to(dtype)
        direction = None if self.direction is None else (self.direction[..., 1:] * scale).to(dtype)
        return (to_null * columns).to(dtype), GradientTable(rest, weights, direction)

    def apply_(self, upstream: Tensor) -> Tensor:
        """Map the upstream gradient `H` in the eigenbasis, `(..., n, n)`, to `M`, in place."""
        diagonal = upstream.diagonal(dim1=-2, dim2=-1)
        if self.weights is None or self.direction is None:
            return upstream.mul_(self.table)
        along = (self.weights * diagonal).sum(-1, keepdim=True) * self.direction
        upstream.mul_(self.table)
        diagonal.add_(along)
        return upstream

    def transposed(self) -> GradientTable:
        """The transpose of the map: from a direction of the matrix, in its eigenbasis, to that of the function."""
        return GradientTable(self.table, self.direction, self.weights)


@dataclass(frozen=True, eq=False)
class SpectralFunction(Part):
    """A function of a positive semi-definite matrix that acts on its eigenvalues.

    Attributes:
        name: As used in tables and messages; it says nothing about what the function is.
        value: Maps eigenvalues `(..., n)`, all >= 0, to `(..., n)`. It sees the whole spectrum, so that it may
            normalise by the trace.
        gradient: Maps eigenvalues `(..., n)` to their exact `GradientTable`.
        approximates_root: Whether it is the square root or stands for it.
    """

    value: Callable[[Tensor], Tensor]
    gradient: Callable[[Tensor], GradientTable]
    approximates_root: bool = False

    @property
    def is_root(self) -> bool:
        """Whether it is the square root of this package, and not one of the same name."""
        return self.kind == "sqrt"

    @property
    def exponent(self) -> float | None:
        """`t` of the matrix power `P^t` that it is or stands for; None for other functions."""
        return 0.5 if self.approximates_root else self.options.get("exponent")


SPECTRAL_FUNCTIONS: Parts[SpectralFunction] = Parts("spectral function")
"""Factories of the spectral functions by name."""


def register_function(
    name: str, factory: Callable[..., SpectralFunction], *, replace: bool = False
) -> Callable[..., SpectralFunction]:
    """Give a spectral function a name that layers, configurations and tables know.

    Args:
        name: As in `forward=...`.
        factory: Returns the function; its arguments are the options, which are checked against their annotations
            (`Annotated[int, AtLeast(1)]`, see `gcp_repro.linalg.machinery.options`).
        replace: Whether it may take the place of another that was added.

    Returns:
        The factory, whose functions know their name and options.

    Raises:
        OptionError: The name is taken, or not one that configurations can hold.
    """
    return SPECTRAL_FUNCTIONS.register(name, factory, replace=replace)


def spectral_function(choice: str | Mapping[str, Any] | SpectralFunction, **options: Any) -> SpectralFunction:
    """Look up a spectral function by name and set its options, or pass a `SpectralFunction` through.

    Args:
        choice: A name in `SPECTRAL_FUNCTIONS`, a mapping of `name` and options, or a function of your own.
        **options: `exponent` (power), `epsilon` (log), `num_iterations` (newton_schulz).

    Raises:
        UnknownNameError: No such function.
        OptionError: An option that the function does not have, or a value outside its range.
    """
    return SPECTRAL_FUNCTIONS.resolve(choice, **options)
