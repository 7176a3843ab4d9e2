"""One way for everything that stops being finite: loss, gradient or metric, in training or validation, on any process.

A step whose loss or gradient is not finite is never taken. With `on_nonfinite_step=raise` the run ends there, with status
"diverged"; with `skip` the step is left out and counted, until `max_skipped_steps` is exceeded. In either case the batch, the
weights before the step and the random state are saved, for `gcp-train replay=FILE`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import torch
import torch.distributed
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor
from torch.optim import Optimizer

from gcp_repro.errors import DataError, DivergedError, NonFiniteError, OptionError, UnknownNameError
from gcp_repro.runs.files import replacing
from gcp_repro.training.processes.distributed import distributed, gathered
from gcp_repro.training.processes.random_state import RandomState
from gcp_repro.training.processes.sharding import local_part

__all__ = ["FiniteSteps", "Outcome", "Policy", "cause_of"]

log = logging.getLogger(__name__)

Policy = Literal["raise", "skip"]
Batch = tuple[Tensor, Tensor]
Cause = TypeVar("Cause")
SAVED_BATCHES = 3
"""Batches that are saved in full; with large networks each is as large as a checkpoint."""


class Outcome(NamedTuple):
    """What a batch gave: logits and loss, or the error that kept it from having any."""

    logits: Tensor | None
    loss: Tensor | None
    error: Exception | None = None


class FiniteSteps(Callback):
    """Keeps every step finite, and knows what to say and save where one is not.

    The module calls `training_loss` and `watch_validation`; as a callback, which has to come before those that look at
    gradients, it checks the gradient before the optimiser's step. On the CPU, under "skip" and with several processes
    the loss is looked at before the backward; else, on a GPU, together with the gradient, so that a step waits for the
    device once.

    Args:
        policy: "raise" or "skip".
        max_skipped: Steps that may be skipped.
        folder: Where batches are saved; None saves none.
        config: The run's configuration as YAML, saved with each batch.

    Attributes:
        skipped: Steps that were skipped so far.
        skips_step: Whether the present step will be.

    Raises:
        UnknownNameError: Another policy.
        OptionError: A negative limit.
    """

    def __init__(
        self, policy: Policy = "raise", max_skipped: int = 10, folder: Path | None = None, config: str | None = None
    ) -> None:
        if policy not in get_args(Policy):
            raise UnknownNameError("policy on_nonfinite_step", policy, get_args(Policy))
        if max_skipped < 0:
            raise OptionError(f"max_skipped_steps needs at least 0; got {max_skipped}: change it")
        self.policy, self.max_skipped, self.folder, self.config = policy, max_skipped, folder, config
        self.skipped = 0
        self.skips_step = False
        self._finite: Tensor | None = None
        self._before = RandomState()
        self._batch: tuple[Batch, int] | None = None
        self._step_is_over = True
        self._buffers: dict[Tensor, Tensor] = {}
        self._failures = 0
        self._failed_validation: list[tuple[str, int]] = []

    def state_dict(self) -> dict[str, Any]:
        """Steps that were skipped."""
        return {"skipped": self.skipped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on counting."""
        self.skipped = state_dict["skipped"]

    def training_loss(self, module: LightningModule, batch: Batch, batch_idx: int, work: Callable[[Batch], Outcome]) -> Outcome:
        """What `work` makes of a training batch.

        Returns:
            The outcome; of a step that is skipped, no logits and a loss that no parameter depends on.

        Raises:
            DivergedError: It is not finite and the policy is "raise", or too many were not. On all processes together.
            DataError: The images themselves are not finite.
        """
        self._before = RandomState.now(module.device)
        self._batch, self._finite = (batch, batch_idx), None
        if self._step_is_over:
            self._step_is_over = self.skips_step = False
            self._buffers = {b: b.clone() for b in module.buffers()} if self.policy == "skip" else {}
        outcome = work(batch)
        alone = not distributed()
        if outcome.loss is not None and self.policy == "raise" and alone and module.device.type != "cpu":
            self._finite = outcome.loss.detach().isfinite()
            return outcome
        causes = _causes(cause_of(outcome, batch))
        if not any(causes):
            return outcome
        self._settle(module, causes)
        return Outcome(None, self._loss_without_gradient(module))

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Optimizer) -> None:
        """Check the gradient, and leave the step out where it is not finite: without gradients an optimiser changes nothing."""
        self._step_is_over = True
        if _scaler(trainer) is not None:
            return
        if not self.skips_step:
            finite = _gradient_is_finite(optimizer)
            if self._finite is not None:
                finite = finite & self._finite
            causes = _causes(None if bool(finite) else self._cause_of_step())
            if any(causes):
                self._settle(pl_module, causes)
        if self.skips_step:
            optimizer.zero_grad(set_to_none=True)

    def _cause_of_step(self) -> str:
        return "gradient" if self._finite is None or bool(self._finite) else "loss"

    def watch_validation(self, module: LightningModule, batch: Batch, batch_idx: int, outcome: Outcome) -> None:
        """Note a validation batch that is not finite; the epoch's end acts on it."""
        cause = cause_of(outcome, batch)
        if cause is not None:
            self._failed_validation.append((cause, batch_idx))
            if len(self._failed_validation) == 1:
                self._save(module, "validation", batch, batch_idx, cause)

    def end_validation(self, module: LightningModule) -> None:
        """Act on validation batches that were not finite.

        Raises:
            DivergedError: There was one, on any process.
            DataError: Its images are not finite.
        """
        failed, self._failed_validation = self._failed_validation, []
        causes = _causes(failed[0] if failed else None)
        first = next((entry for entry in causes if entry is not None), None)
        if first is None:
            return
        cause, batch_idx = first
        if cause == "images":
            raise _refused_images(f"validation batch {batch_idx}")
        file = self._file(module, "validation", batch_idx, causes.index(first))
        raise self._diverged(module, f"validation {cause}", batch_idx, file)

    def _settle(self, module: LightningModule, causes: Sequence[str | None]) -> None:
        """Save the batch where it failed, and raise or mark the step as skipped, on all processes alike."""
        assert self._batch is not None
        batch, batch_idx = self._batch
        cause = next(cause for cause in causes if cause)
        own = causes[module.global_rank]
        self._failures += 1
        if own is not None:
            self._save(module, "training", batch, batch_idx, own)
        file = self._file(module, "training", batch_idx, causes.index(cause))
        if self.policy == "raise":
            if "images" in causes:
                raise _refused_images(
                    self._bad_images(module, batch, batch_idx) if own == "images" else "another process's batch"
                )
            raise self._diverged(module, cause, batch_idx, file)
        self.skipped += 1
        self.skips_step = True
        for buffer, before in self._buffers.items():  # batch norm's running statistics have seen the batch
            buffer.copy_(before)
        log.warning(
            "skipping a step: %s not finite in epoch %d, batch %d (%d skipped, at most %d are allowed)",
            cause, module.current_epoch, batch_idx, self.skipped, self.max_skipped,
        )  # fmt: skip
        if self.skipped > self.max_skipped:
            more = f" after {self.max_skipped} skipped steps, all that max_skipped_steps allows"
            raise self._diverged(module, cause, batch_idx, file, more)

    def _diverged(self, module: LightningModule, cause: str, batch_idx: int, file: Path | None, more: str = "") -> DivergedError:
        layer = getattr(module, "meta_layer_name", "") or "the meta-layer"
        saved = "" if file is None else f"; look at it with gcp-train replay={file}"
        return DivergedError(
            f"training stopped being finite in epoch {module.current_epoch}, batch {batch_idx}, with {layer} ({cause}){more}: "
            f"lower optimizer.lr, set gradient_clip_norm, or use dtype float64{saved}",
            epoch=module.current_epoch,
            batch=batch_idx,
            cause=cause,
        )

    def _loss_without_gradient(self, module: LightningModule) -> Tensor:
        """No parameter gets a gradient from it; a scaler, which needs some to look at, finds NaN and skips the step itself."""
        if _scaler(module.trainer) is None:
            return torch.zeros((), device=module.device, requires_grad=True)
        total: Tensor = sum(parameter.sum() for parameter in module.parameters() if parameter.requires_grad)  # type: ignore[assignment]
        return torch.nan * total

    def _rows(self, module: LightningModule, batch_idx: int) -> list[int]:
        """Numbers of the training images in a batch of this process, as far as its loader can tell."""
        sampler = getattr(module.trainer.train_dataloader, "batch_sampler", None)
        keys_of = getattr(sampler, "keys_of", None)
        return [] if keys_of is None else [key.row for key in keys_of(batch_idx)]

    def _names(self, module: LightningModule, rows: Sequence[int]) -> list[str]:
        names: Callable[[Sequence[int]], list[str]] | None = getattr(module.trainer.datamodule, "sample_names", None)  # type: ignore[attr-defined]
        return [] if names is None else names(rows)

    def _bad_images(self, module: LightningModule, batch: Batch, batch_idx: int) -> str:
        """Which images of a training batch are not finite, in words."""
        fine = batch[0].isfinite().flatten(1).all(1).tolist()
        rows = self._rows(module, batch_idx)
        if len(rows) != len(fine):  # unreadable images were left out
            return f"batch {batch_idx} of epoch {module.current_epoch}"
        bad = [row for row, good in zip(rows, fine, strict=True) if not good]
        names = self._names(module, bad)
        return ", ".join(f"training image {row}" + (f" ({names[i]})" if names else "") for i, row in enumerate(bad))

    def _file(self, module: LightningModule, split: str, batch_idx: int, rank: int) -> Path | None:
        """Where a process saves its batch; None if it does not."""
        if self.folder is None or self._failures > SAVED_BATCHES:
            return None
        return self.folder / f"{split}-epoch{module.current_epoch}-batch{batch_idx}-rank{rank}.pt"

    def _save(self, module: LightningModule, split: str, batch: Batch, batch_idx: int, cause: str) -> None:
        path = self._file(module, split, batch_idx, module.global_rank)
        if path is None:
            return
        path.parent.mkdir(exist_ok=True)
        rows = self._rows(module, batch_idx) if split == "training" else []
        network: Any = module.network
        content = {
            "split": split, "epoch": module.current_epoch, "batch": batch_idx, "step": module.global_step, "cause": cause,
            "rank": module.global_rank, "meta_layer": getattr(module, "meta_layer_name", ""), "rows": rows,
            "files": self._names(module, rows), "config": self.config, "random_state": self._before.state_dict(),
            "network": network.state_dict(), "images": batch[0], "labels": batch[1],
        }  # fmt: skip
        with replacing(path) as temporary:
            torch.save(content, temporary)


def cause_of(outcome: Outcome, batch: Batch) -> str | None:
    """What of a batch is not finite, the earliest in the computation; None if everything is.

    Returns:
        "images", "features" (of which the layer refused to make a covariance), "decomposition", "logits" or "loss".
    """
    if outcome.error is None and outcome.loss is not None and bool(outcome.loss.isfinite()):
        return None
    if not bool(batch[0].isfinite().all()):
        return "images"
    if outcome.error is not None:
        return "features" if isinstance(outcome.error, NonFiniteError) else "decomposition"
    return "loss" if outcome.logits is not None and bool(outcome.logits.isfinite().all()) else "logits"


def _refused_images(which: str) -> DataError:
    """Images with NaN are a fault of the data: no rate mends it, and no result is due to it."""
    return DataError(
        f"training needs finite images; NaN or infinity is in {which}: mend or remove the image; this command then goes on from "
        "the last checkpoint"
    )


def _causes(cause: Cause | None) -> list[Cause | None]:
    """The causes of all processes, by rank; words travel only where there is one."""
    if not distributed():
        return [cause]
    device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
    flag = torch.tensor(cause is not None, dtype=torch.uint8, device=device)
    torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
    return gathered(cause) if flag.item() else [None] * torch.distributed.get_world_size()


def _gradient_is_finite(optimizer: Optimizer) -> Tensor:
    gradients = [local_part(p.grad) for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
    if not gradients:
        return torch.tensor(True)
    return torch.stack(torch._foreach_norm(gradients)).isfinite().all()


def _scaler(trainer: Trainer) -> Any:
    """The gradient scaler of mixed float16 training, which skips steps of infinite gradients by itself."""
    return getattr(trainer.precision_plugin, "scaler", None)
