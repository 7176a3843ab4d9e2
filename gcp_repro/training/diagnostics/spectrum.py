"""Diagnostics of the covariance's eigenvalues, and of the gradient table that a difference quotient makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer

from gcp_repro.linalg.covariance import as_positions, center, covariance, upper_pairs
from gcp_repro.linalg.decomposition import nonzero_spectrum
from gcp_repro.linalg.pooling import operator_for
from gcp_repro.linalg.published import PublishedPooling
from gcp_repro.linalg.spectral import SpectralPooling
from gcp_repro.metalayers import CovariancePooling
from gcp_repro.runs.files import Row, write_csv
from gcp_repro.training.diagnostics.diagnostic import MetaLayerDiagnostic, Sample, child

__all__ = ["EPS", "ConditionNumber", "DifferenceQuotients", "EigenvalueRatio", "SpectrumSummary"]

EPS = 2.2e-16  # the paper's floor of eigenvalues


class SpectrumSummary(NamedTuple):
    """Numbers about the covariances of features, float64 `(B,)` each.

    Attributes:
        condition_number: l_1 / l_C with eigenvalues below 2.2e-16 raised to that, as in the paper's Table 1.
        condition_number_rank: l_1 / l_r with r = min(C, N - 1), floored likewise: the covariance of N positions has no
            more than N - 1 eigenvalues that are not rounding noise.
        condition_number_range: l_1 / l_rank, with the numerical rank below: images with duplicate positions or dead channels
            have less than r.
        eigenvalue_ratio: l_1 / l_2, floored likewise (Figure 3).
        smallest_eigenvalue: l_C as the decomposition returns it; rounding can make it negative.
        smallest_eigenvalue_floored: l_C, not below 2.2e-16.
        rank: Number of eigenvalues above `max(C, N) * eps * l_1`.
    """

    condition_number: Tensor
    condition_number_rank: Tensor
    condition_number_range: Tensor
    eigenvalue_ratio: Tensor
    smallest_eigenvalue: Tensor
    smallest_eigenvalue_floored: Tensor
    rank: Tensor

    @classmethod
    def of(cls, features: Tensor) -> SpectrumSummary:
        """From a C x C decomposition in float64 of the covariances of features `(B, C, H, W)` or `(B, C, N)`."""
        positions = as_positions(features).double()
        channels, count = positions.shape[-2:]
        raw = torch.linalg.eigvalsh(covariance(positions))
        floored = raw.flip(-1).clamp_min(EPS)
        largest, possible = floored[:, 0], max(1, min(channels, count - 1))
        rank = (nonzero_spectrum(raw, max(channels, count)) > 0).sum(-1)
        of_rank = floored.gather(-1, (rank - 1).clamp_min(0).unsqueeze(-1)).squeeze(-1)
        return cls(
            condition_number=largest / floored[:, -1],
            condition_number_rank=largest / floored[:, possible - 1],
            condition_number_range=largest / of_rank,
            eigenvalue_ratio=largest / floored[:, min(1, channels - 1)],
            smallest_eigenvalue=raw[:, 0],
            smallest_eigenvalue_floored=floored[:, -1],
            rank=rank.double(),
        )


class ConditionNumber(MetaLayerDiagnostic):
    """How well conditioned the covariance at the meta-layer's input is, averaged over images and measurements.

    Logs the fields of `SpectrumSummary`.
    """

    label = "condition_number"

    def measure(self, network: nn.Module, sample: Sample, learning_rate: float) -> dict[str, float]:
        """See the class."""
        return {name: value.mean().item() for name, value in SpectrumSummary.of(sample.features)._asdict().items()}


class EigenvalueRatio(MetaLayerDiagnostic):
    """l_1 / l_2 over the first steps of training, as in the paper's Figure 3, in a csv file of its own.

    A row a measurement: `step` (optimiser steps before it), and over the images of the batch `mean`, `smallest` and
    `largest`. The rows are part of each checkpoint. With several processes the first one's images are looked at.

    Args:
        path: The csv file.
        num_steps: Steps to look at.
        every_n_steps: Steps from one measurement to the next, counted from the start of training.
        max_samples: See `MetaLayerDiagnostic`.
    """

    label = "eigenvalue_ratio"

    def __init__(self, path: str | Path, num_steps: int = 10_000, every_n_steps: int = 10, max_samples: int = 8) -> None:
        super().__init__(every_n_steps, max_samples)
        self.path, self.num_steps = Path(path), num_steps
        self.rows: list[Row] = []
        self._step = 0

    def state_dict(self) -> dict[str, Any]:
        """Plain values, as loading with weights_only needs them."""
        return super().state_dict() | {"rows": [dict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        super().load_state_dict(state_dict)
        self.rows = [dict(row) for row in state_dict["rows"]]

    def is_due(self, batch_idx: int, step: int) -> bool:
        """See the class."""
        measured = bool(self.rows) and self.rows[-1]["step"] == step  # batches whose gradients are accumulated share a step
        return step < self.num_steps and step % self.every_n_steps == 0 and not measured

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Note the step, and measure."""
        self._step = trainer.global_step
        super().on_before_optimizer_step(trainer, pl_module, optimizer)

    def measure(self, network: nn.Module, sample: Sample, learning_rate: float) -> dict[str, float]:
        """See the class; nothing is logged."""
        ratio = _eigenvalue_ratio(sample.features)
        values = {"mean": ratio.mean(), "smallest": ratio.min(), "largest": ratio.max()}
        self.rows.append({"step": self._step, **{name: float(f"{value.item():.7g}") for name, value in values.items()}})
        return {}

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the file."""
        if trainer.is_global_zero and self.rows:
            write_csv(self.path, self.rows)


def _eigenvalue_ratio(features: Tensor) -> Tensor:
    """l_1 / l_2 as in `SpectrumSummary`, from the smaller of `X^T X` and `X X^T`: they share their largest eigenvalues."""
    positions = center(as_positions(features).double())
    rows, columns = positions.shape[-2:]
    if rows < 2:
        return positions.new_ones(len(positions))
    smaller = positions.mT @ positions if columns < rows else positions @ positions.mT
    leading = nn.functional.pad(torch.linalg.eigvalsh(smaller), (1, 0))[:, -2:].clamp_min(EPS)  # a single position has one
    return leading[:, 1] / leading[:, 0]


class DifferenceQuotients(MetaLayerDiagnostic):
    """What the layer's gradient rule makes of the batch's eigenvalues in place of `1 / (l_i - l_j)`, the paper's matrix K.

    Logs `largest_quotient`, the largest finite `|K_ij|`, as a mean over images, and `overflow_share`, the percentage of
    pairs whose K is infinite or undefined, which the layer replaces by the largest finite one. A rule without quotients
    (`isqrt_cov`, `svd_newton`, `svd_lyapunov`, ...) has neither.
    """

    label = "difference_quotients"

    def measure(self, network: nn.Module, sample: Sample, learning_rate: float) -> dict[str, float]:
        """See the class."""
        layer = child(network, "meta_layer")
        if not isinstance(layer, CovariancePooling) or layer.spec.moment == "gaussian":
            return {}
        operator = operator_for(layer.spec, sample.features.shape[1])
        if not isinstance(operator, PublishedPooling | SpectralPooling) or operator.rule.quotient is None:
            return {}
        spectrum = operator.spectrum(as_positions(sample.features))
        smaller, larger = upper_pairs(spectrum, spectrum)
        rows, columns = torch.triu_indices(spectrum.shape[-1], spectrum.shape[-1], device=spectrum.device)
        quotients = operator.rule.quotient(larger, smaller)[:, rows != columns].abs()  # the diagonal is no pair
        if not quotients.numel():
            return {}
        finite = quotients.isfinite()
        largest = torch.where(finite, quotients, 0.0).amax(-1)
        return {
            "largest_quotient": largest.double().mean().item(),
            "overflow_share": 100 * (~finite).double().mean().item(),
        }
