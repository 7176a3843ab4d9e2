"""From the pooled vector to class scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.linalg.covariance import from_upper_triangle, upper_triangle

__all__ = ["HEADS", "HeadEntry", "LowRankBilinear", "build_head", "linear_head"]


class LowRankBilinear(nn.Module):
    """Scores `<W_k, Q> + b_k` of a symmetric matrix Q, with every W_k of low rank: `(B, C (C + 1) / 2)` to `(B, num_classes)`.

    `W_k = P (U_k+ U_k+^T - U_k- U_k-^T) P^T` with half of the `rank` columns in each of the two, and P shared by all classes. For
    `Q = X X^T` the score is `|U_k+^T P^T X|^2 - |U_k-^T P^T X|^2 + b_k`, the form in which it was proposed; here Q may be any
    function of the covariance.

    Args:
        inputs: Length of the upper triangle of Q.
        num_classes: Number of scores.
        rank: Of every W_k; even.
        projection_dim: Columns of P; None leaves P out.

    Attributes:
        factors: `(num_classes, rank, projection_dim or C)`, the columns of U_k+ and then those of U_k-.
        projection: P, `(C, projection_dim)`, or None.
        bias: `(num_classes,)`.

    Raises:
        OptionError: `inputs` is the length of no triangle, `rank` is odd or below 2, or a size is out of range.

    Source:
        Kong and Fowlkes: Low-rank bilinear pooling for fine-grained classification, CVPR 2017. Initialised so that scores
        of inputs of variance 1 have the variance 1/3 that `nn.Linear` gives them; their initialisation from a trained classifier
        is not made here.
    """

    def __init__(self, inputs: int, num_classes: int, rank: int = 8, projection_dim: int | None = None) -> None:
        super().__init__()
        channels = (math.isqrt(8 * inputs + 1) - 1) // 2
        if channels * (channels + 1) // 2 != inputs:
            raise OptionError(
                f"a low-rank bilinear classifier needs the upper triangle of one matrix, C (C + 1) / 2 inputs; got {inputs}: "
                "take a layer that gives one, without heads, or model.head.name=linear"
            )
        size = channels if projection_dim is None else projection_dim
        if rank < 2 or rank % 2 or not 1 <= size <= channels:
            raise OptionError(
                f"a low-rank bilinear classifier needs an even rank of at least 2 and projection_dim in 1 ... {channels}; got "
                f"rank={rank}, projection_dim={projection_dim}: change them under model.head"
            )
        self.channels = channels
        self.factors = nn.Parameter(torch.empty(num_classes, rank, size))
        nn.init.normal_(self.factors, std=(6 * rank * size**2) ** -0.25)
        self.projection = None if projection_dim is None else nn.Parameter(torch.empty(channels, size))
        if self.projection is not None:
            nn.init.orthogonal_(self.projection)
        self.bias = nn.Parameter(torch.zeros(num_classes))

    def extra_repr(self) -> str:
        """Sizes, as `nn.Linear` shows its own."""
        classes, rank, size = self.factors.shape
        return f"channels={self.channels}, out_features={classes}, rank={rank}, projected={size}"

    def forward(self, triangle: Tensor) -> Tensor:
        """Scores `(B, num_classes)` of upper triangles `(B, C (C + 1) / 2)`, row by row."""
        positive, negative = self.factors.chunk(2, dim=1)
        weights = positive.mT @ positive - negative.mT @ negative
        if self.projection is not None:
            matrix = from_upper_triangle(triangle, self.channels)
            triangle = upper_triangle(self.projection.mT @ matrix @ self.projection)
        doubled = 2 * weights - torch.diag_embed(weights.diagonal(dim1=-2, dim2=-1))  # both entries off the diagonal
        return triangle @ upper_triangle(doubled).mT + self.bias


def linear_head(inputs: int, num_classes: int, hidden_dims: Sequence[int] = ()) -> nn.Sequential:
    """Linear layers with ReLU between them: `(B, inputs)` to `(B, num_classes)`.

    Raises:
        OptionError: A hidden layer of less than one unit.
    """
    if min(hidden_dims, default=1) < 1:
        raise OptionError(f"hidden_dims needs sizes of at least 1; got {list(hidden_dims)}: change them under model")
    sizes = list(pairwise((inputs, *hidden_dims, num_classes)))
    first, *others = [nn.Linear(before, after) for before, after in sizes]
    return nn.Sequential(first, *(layer for linear in others for layer in (nn.ReLU(inplace=True), linear)))


@dataclass(frozen=True)
class HeadEntry:
    """One kind of classifier.

    Attributes:
        factory: Called with the number of inputs, of classes, and the options.
        description: One line.
        source: Paper.
        defaults: Every option.
    """

    factory: Callable[..., nn.Module]
    description: str
    source: str
    defaults: Mapping[str, Any] = field(default_factory=dict)


HEADS: dict[str, HeadEntry] = {
    "linear": HeadEntry(linear_head, "a matrix of inputs x classes", "every paper of the field", {"hidden_dims": ()}),
    "low_rank_bilinear": HeadEntry(
        LowRankBilinear, "a symmetric matrix of low rank for each class", "Kong and Fowlkes, CVPR 2017",
        {"rank": 8, "projection_dim": None},
    ),
}  # fmt: skip
"""Classifiers by name."""


def build_head(head: str | Mapping[str, Any], inputs: int, num_classes: int, hidden_dims: Sequence[int] = ()) -> nn.Module:
    """A classifier of the right size.

    Args:
        head: A name in `HEADS`, or a mapping with that name and options, as in `{"name": "low_rank_bilinear", "rank": 4}`.
        inputs: Length of the pooled vector.
        num_classes: Number of scores; 0 passes the pooled vector on.
        hidden_dims: The option of the linear head of this name.

    Raises:
        UnknownNameError: No such head.
        OptionError: It has no option of this name, or a value is out of range.
    """
    options: dict[str, Any] = {"name": head} if isinstance(head, str) else dict(head)
    name = options.pop("name", None)
    if name not in HEADS:
        raise UnknownNameError("head", name, HEADS)
    if hidden_dims:
        options["hidden_dims"] = hidden_dims
    unknown = [option for option in options if option not in HEADS[name].defaults]
    if unknown:
        raise OptionError(
            f"the head {name} has the options {', '.join(HEADS[name].defaults)}; got {unknown[0]}: change model.head"
        )
    return HEADS[name].factory(inputs, num_classes, **{**HEADS[name].defaults, **options}) if num_classes else nn.Identity()
