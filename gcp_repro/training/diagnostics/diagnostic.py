"""Callbacks that look at the meta-layer while it trains, cheaply and without a trace in the training itself.

`MetaLayerDiagnostic` decides when to look, captures the layer's input and the labels, protects the state of training and keeps
account of the time; a diagnostic only says what it computes from them.
"""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.hooks import RemovableHandle

from gcp_repro.errors import OptionError
from gcp_repro.training.module.compilation import uncompiled
from gcp_repro.training.processes.distributed import gathered, rank

__all__ = ["MetaLayerDiagnostic", "Sample", "child", "epoch_means"]

Sums = dict[str, tuple[float, int]]
"""Sum and number of values by name."""


@dataclass(frozen=True)
class Sample:
    """The part of a training batch that is looked at; B is at most `max_samples`.

    Attributes:
        images: `(B, channels, H, W)`, as the network got them.
        features: Input of the meta-layer, `(B, C, H, W)` or `(B, C, N)`, detached, at least float32.
        labels: `(B,)`.
    """

    images: Tensor
    features: Tensor
    labels: Tensor


class MetaLayerDiagnostic(Callback):
    """Every `every_n_steps` batches of an epoch, measures something at the meta-layer's input.

    Values go into the epoch's row, and so to every logger, as `diagnostics/<name>`, averaged over the epoch's measurements,
    with `diagnostics/<label>_time_share`: time spent on them in percent of the epoch's training time. `RunRecorder` fetches
    them with `epoch_means`: `LightningModule.log` would take longer than most measurements.

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
        self._images_and_labels: tuple[Tensor, Tensor] | None = None
        self._features: Tensor | None = None
        self._seconds = 0.0
        self._epoch_start = 0.0
        self._sums: Sums = {}

    @property
    def sums(self) -> Sums:
        """What this epoch's measurements on this process add up to."""
        return dict(self._sums)

    def state_dict(self) -> dict[str, Any]:
        """The sums of an epoch that was stopped half way, over all processes."""
        return {"sums": {name: list(entry) for name, entry in _added(gathered(self._sums)).items()}}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take them up again, in one process; the start of an epoch discards them."""
        if rank() == 0:
            self._sums = {name: (total, count) for name, (total, count) in state_dict["sums"].items()}

    @abstractmethod
    def measure(self, network: nn.Module, sample: Sample, learning_rate: float) -> dict[str, float]:
        """Values by name; a name without a value in this batch is left out.

        Args:
            network: In evaluation mode, with gradients enabled.
            sample: What the network was trained on just now.
            learning_rate: Current rate of the network's parameters.
        """

    def is_due(self, batch_idx: int, step: int) -> bool:
        """Whether to measure at a batch of the epoch, `step` optimiser steps into training."""
        return batch_idx % self.every_n_steps == 0

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the accounts of an epoch."""
        self._seconds = 0.0
        self._epoch_start = time.perf_counter()
        self._sums = {}

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Listen at the meta-layer, if it is time."""
        if self.is_due(batch_idx, trainer.global_step):
            self._images_and_labels = batch[0][: self.max_samples], batch[1][: self.max_samples]
            layer = child(child(pl_module, "network"), "meta_layer")
            self._hook = layer.register_forward_pre_hook(self._capture)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Measure."""
        if self._features is None or self._images_and_labels is None or getattr(pl_module, "skips_step", False):
            return
        start = _now(pl_module.device)
        network = child(pl_module, "network")
        images, labels = self._images_and_labels
        sample = Sample(images, self._features, labels)
        with _undisturbed(network, pl_module.device):
            values = self.measure(network, sample, float(optimizer.param_groups[0]["lr"]))
        for name, value in values.items():
            self._add(name, value)
        self._features = self._images_and_labels = None
        self._seconds += _now(pl_module.device) - start

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Work out the share of time, with the epoch's last batch."""
        if trainer.is_last_batch and self._epoch_start:
            self._add(f"{self.label}_time_share", 100 * self._seconds / (_now(pl_module.device) - self._epoch_start))

    def _add(self, name: str, value: float) -> None:
        total, count = self._sums.get(name, (0.0, 0))
        self._sums[name] = total + value, count + 1

    def _capture(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        features = inputs[0][: self.max_samples].detach()
        self._features = features.clone() if features.dtype == torch.float64 else features.float()
        if self._hook is not None:
            self._hook.remove()
            self._hook = None


def epoch_means(trainer: Trainer) -> dict[str, float]:
    """The diagnostics of the epoch that ends, `diagnostics/<name>` in alphabetical order.

    Means over all measurements on all processes; a name that only some of them have a value for is no harm. To be called on
    every process.
    """
    own = [callback.sums for callback in trainer.callbacks if isinstance(callback, MetaLayerDiagnostic)]  # type: ignore[attr-defined]
    totals = _added([sums for process in gathered(own) for sums in process])
    return {f"diagnostics/{name}": float(f"{total / count:.7g}") for name, (total, count) in sorted(totals.items())}


def _added(sums: Iterable[Sums]) -> Sums:
    totals: Sums = {}
    for name, (value, number) in (entry for part in sums for entry in part.items()):
        total, count = totals.get(name, (0.0, 0))
        totals[name] = total + value, count + number
    return totals


def child(module: nn.Module, name: str) -> nn.Module:
    """A submodule, for type checkers."""
    return module.get_submodule(name)


@contextmanager
def _undisturbed(network: nn.Module, device: torch.device) -> Iterator[None]:
    """Evaluation mode with gradients, as written even if compiled, and everything as it was afterwards."""
    modes = {module: module.training for module in network.modules()}
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), torch.enable_grad(), uncompiled(), _in_dtype_of(network):
        network.eval()
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training


def _in_dtype_of(network: nn.Module) -> AbstractContextManager[Any]:
    """Features are in float32 here; weights that are kept in half precision take them through autocast."""
    weight = next(network.parameters(), None)
    if weight is None or weight.dtype not in (torch.float16, torch.bfloat16):
        return nullcontext()
    return torch.autocast(weight.device.type, weight.dtype)


def _now(device: torch.device) -> float:
    """Clock that counts work given to the device as done."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
