"""Where the time of a training step goes: a clock that is looked at wherever the step passes from one part to the next."""

from __future__ import annotations

import time
from typing import Any

import torch
from pytorch_lightning import Callback, LightningDataModule, LightningModule, Trainer
from torch import nn
from torch.optim import Optimizer

from gcp_repro.training.diagnostics.diagnostic import MetaLayerDiagnostic

__all__ = ["PARTS", "ClockAround", "StepClock"]

PARTS = ("data", "transfer", "forward", "meta-layer", "backward", "optimiser", "diagnostics", "other")
"""Of a step: waiting for the loader; to the device, with normalisation; network without the layer, and loss; the layer's forward
and backward; the rest of the backward; checks of the gradient and the update; diagnostics; Lightning."""


class StepClock(Callback):
    """Notes, last of all callbacks, how much time each part of the steps takes.

    On the CPU it reads the time; on a GPU it puts events into the stream, so that a part is what the device does, or waits for,
    between them, and the steps overlap as they do without it.

    Args:
        module: Whose network is trained; hooks are hung at it and its meta-layer.
        datamodule: Whose transfer is told apart from its loading.
        warmup: Steps that are not counted.

    Attributes:
        steps: That are counted so far.
    """

    def __init__(self, module: Any, datamodule: LightningDataModule, warmup: int) -> None:
        self.warmup = warmup
        self.steps = -1  # the last of the warm-up is where counting begins
        self.listening = True
        self._cuda = False
        self._marks: list[tuple[str, int, Any]] = []
        layer: nn.Module = module.network.meta_layer
        self._handles = [
            module.network.register_forward_pre_hook(lambda *_: self.mark("other")),
            layer.register_forward_pre_hook(lambda *_: self.mark("forward")),
            layer.register_forward_hook(lambda *_: self.mark("meta-layer")),
            layer.register_full_backward_pre_hook(lambda *_: self.mark("backward")),
            layer.register_full_backward_hook(lambda *_: self.mark("meta-layer")),
        ]
        self._datamodule, self._transferring = datamodule, datamodule.on_before_batch_transfer
        datamodule.on_before_batch_transfer = self._before_transfer  # type: ignore[method-assign]

    def mark(self, part: str, every: int = 1) -> None:
        """What has passed since the last look was this part, which training does in every so many steps."""
        if self.listening:
            self._marks.append((part, every, _event() if self._cuda else time.perf_counter()))

    def _before_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        self.mark("data")
        return self._transferring(batch, dataloader_idx)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Know the device."""
        self._cuda = pl_module.device.type == "cuda"

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """The batch has arrived."""
        self.mark("transfer")

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: torch.Tensor) -> None:
        """The loss is there."""
        self.mark("forward")

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """So are the gradients."""
        self.mark("backward")

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """The gradient has been checked, a part of the update."""
        self.mark("optimiser")

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int) -> None:
        """The step is over; what has been noted in the warm-up is forgotten."""
        if trainer.global_step < self.warmup:
            self._marks = []
            return
        self.steps += 1
        if self.steps == 0:
            self._marks = []
        self.mark("optimiser")

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._datamodule.on_before_batch_transfer = self._transferring  # type: ignore[method-assign]

    def seconds(self) -> dict[str, float]:
        """Of each part, a step."""
        if self._cuda:
            torch.cuda.synchronize()
        totals = dict.fromkeys(PARTS, 0.0)
        for (_, _, before), (part, every, now) in zip(self._marks, self._marks[1:], strict=False):
            totals[part] += (before.elapsed_time(now) / 1e3 if self._cuda else now - before) / every
        return {part: total / self.steps for part, total in totals.items()}


class ClockAround(Callback):
    """Measures a diagnostic in every step, and counts it as often as it is due in training; it stands in the diagnostic's place.

    Args:
        clock: That is looked at.
        diagnostic: From here on it measures in every step.
    """

    def __init__(self, clock: StepClock, diagnostic: MetaLayerDiagnostic) -> None:
        self.clock, self.diagnostic = clock, diagnostic
        self.every, diagnostic.every_n_steps = diagnostic.every_n_steps, 1

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """As the diagnostic."""
        self.diagnostic.on_train_epoch_start(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """As the diagnostic."""
        self.diagnostic.on_train_batch_start(trainer, pl_module, batch, batch_idx)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """As the diagnostic, which calls the layer, too; the time before it was that of the gradient's checks."""
        self.clock.mark("optimiser")
        self.clock.listening = False
        self.diagnostic.on_before_optimizer_step(trainer, pl_module, optimizer)
        self.clock.listening = True
        self.clock.mark("diagnostics", self.every)


def _event() -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record()
    return event
