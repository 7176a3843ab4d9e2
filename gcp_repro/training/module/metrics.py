"""Metrics of an epoch: sums over samples and processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torchmetrics import Metric

__all__ = ["MeanCrossEntropy", "TopKError", "classification_metrics"]


class TopKError(Metric):
    """Share of samples, in percent, whose class is not among the `top_k` largest logits.

    With `top_k` classes or fewer nothing can be missed, unless logits are not finite: those never find a class.

    Args:
        top_k: Classes that count as found.
    """

    full_state_update = False
    missed: Tensor
    total: Tensor

    def __init__(self, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        for count in ("missed", "total"):
            self.add_state(count, torch.tensor(0), dist_reduce_fx="sum")

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: logits `(B, classes)`, labels `(B,)`, or shares of the classes `(B, classes)`."""
        if labels.ndim > 1:
            labels = labels.argmax(1)  # of mixed images the larger part
        found = (logits.topk(min(self.top_k, logits.shape[-1]), dim=-1).indices == labels[:, None]).any(-1)
        found &= logits.isfinite().all(-1)
        self.missed += len(labels) - found.sum()
        self.total += len(labels)

    def compute(self) -> Tensor:
        """Percentage over all updates and processes."""
        return (100 * self.missed).float() / self.total


class MeanCrossEntropy(Metric):
    """Cross-entropy of all samples, each counted once whatever the batch sizes.

    (torchmetrics' MeanMetric drops the weights of batches when it is told not to look for NaN.)
    """

    full_state_update = False
    summed: Tensor
    total: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("summed", torch.tensor(0.0), dist_reduce_fx="sum")
        self.add_state("total", torch.tensor(0), dist_reduce_fx="sum")

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> MeanCrossEntropy:
        """As torch, but a network in half precision does not take the sum of an epoch with it."""

        def kept(state: Tensor) -> Tensor:
            moved = fn(state)
            return moved.to(torch.promote_types(moved.dtype, state.dtype))

        super()._apply(kept, exclude_state)
        return self

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits `(B, classes)`, labels `(B,)`, or shares of the classes `(B, classes)`."""
        self.summed += cross_entropy(logits, labels, reduction="sum")
        self.total += len(labels)

    def compute(self) -> Tensor:
        """Mean over all updates and processes."""
        return self.summed / self.total


def classification_metrics() -> nn.ModuleDict:
    """`loss`, `top1_error` and `top5_error`."""
    return nn.ModuleDict({"loss": MeanCrossEntropy(), "top1_error": TopKError(top_k=1), "top5_error": TopKError(top_k=5)})
