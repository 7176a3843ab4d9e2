"""Dropout of whole channels before a covariance, with a random state of its own."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from gcp_repro.linalg.machinery.modes import in_backward, outside_transforms
from gcp_repro.linalg.machinery.random_numbers import uniform
from gcp_repro.metalayers.extra_state import WithExtraState

__all__ = ["ChannelDropout"]


class ChannelDropout(WithExtraState):
    """Sets channels of an image to 0 with probability p in training, and divides the others by `1 - p`; off in evaluation.

    Random numbers follow from `state`, two numbers: a seed, which is drawn from torch's global generator when the module is made,
    and the number of batches so far. It is the module's extra state, so that a run that goes on from a checkpoint draws what it
    would have drawn. A backward that computes the forward again (`torch.utils.checkpoint`) drops the channels of the last batch
    once more, so it has to come before the next forward. Compile around a checkpoint, not inside one: a
    graph that is called again does not know that it is, and drops others.

    Args:
        rate: p, or `"adaptive"`: `1 - 10 / log2(C) rho`, within 0 and 1. `rho` is the mean over the batch of the cosine of the
            angle between two vectors of C numbers: the importance of the channels, the softmax of their means over positions,
            and the sums of the rows of their covariance.

    Source:
        Wang et al., DropCov (NeurIPS 2022), with their code, where the importance is a convolution of the means over neighbouring
        channels by three learned weights, here (0, 1, 0), and in training also scales the features by one plus itself.
    """

    def __init__(self, rate: float | Literal["adaptive"]) -> None:
        super().__init__()
        self.rate = rate
        seed = int(torch.randint(2**31, (1,), device="cpu"))
        self.state = torch.tensor([seed, 0], device="cpu")  # no buffer: it stays on the CPU, and is never made empty

    def extra_repr(self) -> str:
        return f"rate={self.rate}"

    def forward(self, features: Tensor) -> Tensor:
        """Drop channels of `(B, C, N)`."""
        if not self.training:
            return features
        rate = adaptive_rate(features) if self.rate == "adaptive" else features.new_tensor(self.rate)
        numbers = uniform(self._next_state(), features)
        kept = (numbers >= rate) / torch.where(rate < 1, 1 - rate, 1.0)
        return features * kept.to(features.dtype).unsqueeze(-1)

    @torch.no_grad()
    def _next_state(self) -> Tensor:
        """The state of this batch, or of the last one where the backward computes that again."""
        with outside_transforms():
            return self._advance()

    def _advance(self) -> Tensor:
        batch = torch.tensor([0, 1], device=self.state.device)
        if in_backward():
            return (self.state - batch).clamp(min=0)
        if torch.compiler.is_compiling():
            # A graph of what is checkpointed would read the changed state in its backward. For a side effect the compiler leaves
            # that uncompiled.
            self.in_graph = True
        state = self.state.clone()
        self.state.add_(batch)
        return state

    def get_extra_state(self) -> Tensor:
        """Seed and number of batches."""
        return self.state.clone()

    def set_extra_state(self, state: Tensor) -> None:
        """Go on from there."""
        self.state.copy_(state)


@torch.no_grad()
def adaptive_rate(features: Tensor) -> Tensor:
    """The probability that `ChannelDropout("adaptive")` takes for `(B, C, N)`, one number; images with NaN do not count."""
    features = features.double()
    mean = features.mean(-1, keepdim=True)
    centered = features - mean
    importance = mean.squeeze(-1).softmax(-1)
    sums = (centered @ centered.sum(-2).unsqueeze(-1)).squeeze(-1) / features.shape[-1]
    alike = torch.nn.functional.cosine_similarity(importance, sums, dim=-1, eps=1e-300).nanmean().nan_to_num(0.0)
    return (1 - 10 / math.log2(max(features.shape[1], 2)) * alike).clamp(0, 1)
