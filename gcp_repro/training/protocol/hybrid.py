"""The hybrid protocol: Newton-Schulz first, the configured meta-layer from the swap epoch on."""

from __future__ import annotations

import functools
import logging

from pytorch_lightning import Callback, LightningModule, Trainer
from torch import nn

from gcp_repro.errors import ProtocolError
from gcp_repro.training.module.gcp_module import GCPModule

__all__ = ["HybridSwap"]

log = logging.getLogger(__name__)


class HybridSwap(Callback):
    """Keeps the network's meta-layer the one that belongs to the current epoch.

    Everything goes through `set_stage`, which looks at the epoch alone and may be called at any time: when training starts,
    when an epoch starts, and before a checkpoint's weights are loaded, whether of a finished run, from either side of the swap
    or from the middle of an epoch (where Lightning announces no new epoch).

    Args:
        initial: Layer before the swap.
        final: Layer from the swap on.
        initial_name: Name of `initial`.
        final_name: Name of `final`.
        swap_epoch: First epoch, counted from 0, that trains with `final`.

    Raises:
        ProtocolError: One of the layers has parameters, which the other's training would leave untrained.
    """

    def __init__(self, initial: nn.Module, final: nn.Module, *, initial_name: str, final_name: str, swap_epoch: int) -> None:
        for name, layer in ((initial_name, initial), (final_name, final)):
            if any(True for _ in layer.parameters()):
                raise ProtocolError(
                    f"the hybrid protocol exchanges layers without parameters; {name!r} has some: set protocol=standalone"
                )
        self.stages = {False: (initial_name, initial), True: (final_name, final)}
        self.swap_epoch = swap_epoch

    def set_stage(self, module: GCPModule, epoch: int) -> None:
        """Let `module` use the layer of `epoch`, if it does not already."""
        name, layer = self.stages[epoch >= self.swap_epoch]
        if module.network.meta_layer is not layer:
            module.use_meta_layer(name, layer)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let the module ask for the layer of a checkpoint's epoch; Lightning tells callbacks of it when weights are loaded."""
        module = _gcp_module(pl_module)
        module.use_layer_of = functools.partial(self.set_stage, module)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The layer of the epoch that a run starts in or resumes in."""
        self.set_stage(_gcp_module(pl_module), trainer.current_epoch)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The swap itself."""
        self.set_stage(_gcp_module(pl_module), trainer.current_epoch)
        if trainer.current_epoch == self.swap_epoch and trainer.is_global_zero:
            self._announce()

    def _announce(self) -> None:
        (before, initial), (after, final) = self.stages[False], self.stages[True]
        if initial is final:
            log.info("hybrid protocol: the swap of epoch %d changes nothing, both layers are the same %s", self.swap_epoch, after)
        else:
            log.info("hybrid protocol: %s gives way to %s at epoch %d", before, after, self.swap_epoch)


def _gcp_module(module: LightningModule) -> GCPModule:
    if not isinstance(module, GCPModule):
        raise ProtocolError(f"the hybrid protocol trains a GCPModule; got {type(module).__name__}: use GCPModule")
    return module
