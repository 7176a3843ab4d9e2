"""Callbacks that look at the meta-layer while it trains, cheaply and without a trace in the training itself.

`MetaLayerDiagnostic` decides when to look, captures the layer's input and the labels, protects the state of training and keeps
account of the time; a diagnostic only says what it computes from them.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from gcp_repro.errors import OptionError
from gcp_repro.linalg.covariance import as_positions, covariance

__all__ = ["BetaSmoothness", "ConditionNumber", "MetaLayerDiagnostic", "condition_numbers", "effective_smoothness"]

EPS = 2.2e-16  # the paper's floor of eigenvalues


class MetaLayerDiagnostic(Callback):
    """Every `every_n_steps` batches of an epoch, measures something at the meta-layer's input.

    Values are logged as `diagnostics/<name>`, averaged over the epoch's measurements, with
    `diagnostics/<label>_time_share`: time spent on them in percent of the epoch's training time.

    The input is that of the training step (same images, same batch statistics), the weights those before the
    optimiser's step. While measuring, the network is in evaluation mode and the random state is put back afterwards, so
    training goes on bit for bit as without it.

    Attributes:
        label: Name of the diagnostic in configurations and in the record.

    Args:
        every_n_steps: Batches from one measurement to the next; an epoch's first batch is always measured.
        max_samples: Images of the batch that are used.

    Raises:
        OptionError: One of the two is below 1.
    """

    label: str

    def __init__(self, every_n_steps: int = 50, max_samples: int = 8) -> None:
        for name, value in (("every_n_steps", every_n_steps), ("max_samples", max_samples)):
            if value < 1:
                raise OptionError(f"{name} of a diagnostic needs at least 1; got {value}: change callbacks.{self.label}.{name}")
        self.every_n_steps = every_n_steps
        self.max_samples = max_samples
        self._hook: RemovableHandle | None = None
        self._features: Tensor | None = None
        self._labels: Tensor | None = None
        self._seconds = 0.0
        self._epoch_start = 0.0

    @abstractmethod
    def measure(self, network: nn.Module, features: Tensor, labels: Tensor, learning_rate: float) -> dict[str, float]:
        """Values by name; a name without a value in this batch is left out.

        Args:
            network: In evaluation mode, with gradients enabled.
            features: Input of `network.meta_layer`, `(B, C, H, W)` or `(B, C, N)` with B at most `max_samples`, detached.
            labels: `(B,)`.
            learning_rate: Current rate of the network's parameters.
        """

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the accounts of an epoch."""
        self._seconds = 0.0
        self._epoch_start = time.perf_counter()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Listen at the meta-layer, if it is time."""
        if batch_idx % self.every_n_steps == 0:
            self._labels = batch[1][: self.max_samples]
            layer = _child(_child(pl_module, "network"), "meta_layer")
            self._hook = layer.register_forward_pre_hook(self._capture)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure and log."""
        if self._features is None or self._labels is None:
            return
        start = _now(pl_module.device)
        network = _child(pl_module, "network")
        with _undisturbed(network, pl_module.device):
            values = self.measure(network, self._features, self._labels, float(optimizer.param_groups[0]["lr"]))
        for name, value in values.items():
            _log_epoch_mean(pl_module, name, value)
        self._features = self._labels = None
        self._seconds += _now(pl_module.device) - start

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Log the share of time, with the epoch's last batch."""
        if trainer.is_last_batch and self._epoch_start:
            share = 100 * self._seconds / (_now(pl_module.device) - self._epoch_start)
            _log_epoch_mean(pl_module, f"{self.label}_time_share", share)

    def _capture(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features = inputs[0][: self.max_samples].detach()
        self._features = features.clone() if features.dtype == torch.float64 else features.float()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None


class ConditionNumber(MetaLayerDiagnostic):
    """Condition number of the covariance at the meta-layer's input, averaged over images and measurements.

    Logs `condition_number`, l_1 / l_C with eigenvalues below 2.2e-16 raised to that as in the paper's Table 1, and
    `condition_number_rank`, l_1 / l_r with r = min(C, N - 1): the covariance of N positions has no more than N - 1
    eigenvalues that are not rounding noise.
    """

    label = "condition_number"

    def measure(self, network: nn.Module, features: Tensor, labels: Tensor, learning_rate: float) -> dict[str, float]:
        """See the class."""
        full, rank_aware = condition_numbers(features)
        return {"condition_number": full.mean().item(), "condition_number_rank": rank_aware.mean().item()}


class BetaSmoothness(MetaLayerDiagnostic):
    """Effective beta-smoothness of the loss with respect to the meta-layer's input.

    Logs `beta_smoothness`, the largest `||g(x - eta g(x)) - g(x)|| / ||eta g(x)||` over the given step sizes, where g is
    the gradient of the mini-batch's loss with respect to the features x; see `effective_smoothness`.

    Args:
        every_n_steps: See `MetaLayerDiagnostic`.
        max_samples: See `MetaLayerDiagnostic`.
        step_factors: Step sizes eta in units of the current learning rate.

    Source:
        Santurkar, Tsipras, Ilyas, Madry: How does batch normalization help optimization?, NeurIPS 2018, section 3.2.
    """

    label = "beta_smoothness"

    def __init__(
        self, every_n_steps: int = 50, max_samples: int = 8, step_factors: Sequence[float] = (0.5, 1.0, 2.0, 4.0)
    ) -> None:
        super().__init__(every_n_steps, max_samples)
        if not step_factors or min(step_factors) <= 0:
            raise OptionError(
                f"step_factors of beta_smoothness need positive numbers; got {list(step_factors)}: change "
                "callbacks.beta_smoothness.step_factors"
            )
        self.step_factors = tuple(step_factors)

    def measure(self, network: nn.Module, features: Tensor, labels: Tensor, learning_rate: float) -> dict[str, float]:
        """See the class."""

        def gradient(x: Tensor) -> Tensor:
            x = x.requires_grad_()
            logits = _child(network, "classifier")(_child(network, "meta_layer")(x))
            loss = cross_entropy(logits, labels)
            return torch.autograd.grad(loss, x)[0]

        beta = effective_smoothness(gradient, features, [factor * learning_rate for factor in self.step_factors])
        return {} if beta is None else {"beta_smoothness": beta}


def condition_numbers(features: Tensor) -> tuple[Tensor, Tensor]:
    """l_1 / l_C and l_1 / l_min(C, N-1) of the covariances of features, from a C x C decomposition in float64.

    Args:
        features: `(B, C, H, W)` or `(B, C, N)`.

    Returns:
        Two float64 tensors `(B,)`; eigenvalues below 2.2e-16 count as 2.2e-16, so equal features give 1.
    """
    positions = as_positions(features).double()
    channels, count = positions.shape[-2:]
    eigenvalues = torch.linalg.eigvalsh(covariance(positions)).flip(-1).clamp_min(EPS)
    rank = max(1, min(channels, count - 1))
    largest = eigenvalues[:, 0]
    return largest / eigenvalues[:, -1], largest / eigenvalues[:, rank - 1]


def effective_smoothness(gradient: Callable[[Tensor], Tensor], point: Tensor, steps: Sequence[float]) -> float | None:
    """Largest change of a gradient per distance moved against it: `||g(x - eta g) - g|| / ||eta g||` over `steps`.

    Args:
        gradient: Maps a tensor to its gradient, same shape.
        point: x; not changed.
        steps: The eta, positive.

    Returns:
        The maximum, or None where the gradient is zero, so that no distance is moved.
    """
    start = gradient(point.clone())
    length = torch.linalg.vector_norm(start)
    if length == 0:
        return None
    changes = [torch.linalg.vector_norm(gradient(point - step * start) - start) / (step * length) for step in steps]
    return float(torch.stack(changes).max())


def _log_epoch_mean(module: LightningModule, name: str, value: float) -> None:
    """Over the measurements of an epoch and over processes."""
    shared = module.trainer.world_size > 1
    module.log(f"diagnostics/{name}", value, on_step=False, on_epoch=True, logger=False, batch_size=1, sync_dist=shared)


def _child(module: nn.Module, name: str) -> nn.Module:
    return module.get_submodule(name)


@contextmanager
def _undisturbed(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode with gradients, and everything as it was afterwards."""
    modes = {module: module.training for module in network.modules()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), torch.enable_grad():
        network.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training


def _now(device: torch.device) -> float:
    """Clock that counts work given to the device as done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
