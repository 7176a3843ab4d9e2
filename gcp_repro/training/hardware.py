"""What a run's devices can do, looked at before anything is built."""

from __future__ import annotations

import torch
from omegaconf import DictConfig

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.training.processes.sharding import SHARDED

__all__ = ["PRECISIONS", "check_hardware"]

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true", "bf16-true", "16-true")
"""Of the network; one spelling each, for it is part of what a run is."""
SPELLINGS = {"32": "32-true", "64": "64-true", "16": "16-mixed", "bf16": "bf16-mixed"}
"""Lightning's other names for them."""


def check_hardware(trainer: DictConfig, callbacks: DictConfig | None = None) -> None:
    """Refuse a trainer's options that its devices do not have, or do otherwise than they say.

    Args:
        trainer: The node `trainer` of a configuration.
        callbacks: The node `callbacks`.

    Raises:
        UnknownNameError: Another precision.
        OptionError: float16 with a gradient scaler, or synchronised batch norm, on a CPU; or a strategy that trains in child
            processes, which would take the record of the run with them.
    """
    precision, strategy = str(trainer.get("precision", "32-true")), str(trainer.get("strategy", "auto"))
    if precision not in PRECISIONS:
        nearest = SPELLINGS.get(precision)
        if nearest is not None:
            raise OptionError(f"trainer.precision has one name for each; got {precision}: write trainer.precision={nearest}")
        raise UnknownNameError("precision of the trainer", precision, PRECISIONS)
    if strategy.endswith(("_spawn", "_fork", "_notebook")):
        raise OptionError(
            f"trainer.strategy needs one that starts a command per process; got {strategy!r}: use trainer.strategy=ddp"
        )
    if strategy == SHARDED and precision in ("16-mixed", "64-true"):
        raise OptionError(
            f"trainer.strategy=fsdp needs a precision without a gradient scaler, of at most 32 bits; got {precision}: use "
            "trainer.precision=bf16-mixed or 32-true"
        )
    if strategy == SHARDED and any("WeightAveraging" in str(node.get("_target_")) for node in (callbacks or {}).values()):
        raise OptionError(
            "averages of the weights need them whole on every process; got trainer.strategy=fsdp, which spreads them: use "
            "trainer.strategy=ddp, or leave callbacks=ema out"
        )
    if _on_cpu(str(trainer.get("accelerator", "auto"))):
        if precision == "16-mixed":
            raise OptionError(
                "trainer.precision=16-mixed needs a GPU, for CPUs have no float16 with a gradient scaler; got a CPU: use "
                "trainer.precision=bf16-mixed"
            )
        if trainer.get("sync_batchnorm"):
            raise OptionError(
                "trainer.sync_batchnorm needs GPUs, torch has it for no other device; got a CPU: leave it false, and batch norm "
                "takes its statistics over the images of each process"
            )


def _on_cpu(accelerator: str) -> bool:
    return accelerator == "cpu" or (
        accelerator == "auto" and not torch.cuda.is_available() and not torch.backends.mps.is_available()
    )
