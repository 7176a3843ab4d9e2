"""The one LightningModule: cross-entropy, SGD with step decay, top-1 and top-5 error."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Any

import torch
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torch.optim.lr_scheduler import MultiStepLR
from torchmetrics import Metric

from gcp_repro.errors import NonFiniteError
from gcp_repro.training.schedule import Schedule

__all__ = ["GCPModule", "MeanCrossEntropy", "TopKError"]

Batch = tuple[Tensor, Tensor]
OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]


class TopKError(Metric):
    """Share of samples, in percent, whose class is not among the `top_k` largest logits.

    With `top_k` classes or fewer nothing can be missed: the error is 0.

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
        """Count a batch: logits `(B, classes)`, labels `(B,)`."""
        found = logits.topk(min(self.top_k, logits.shape[-1]), dim=-1).indices == labels[:, None]
        self.missed += len(labels) - found.sum()
        self.total += len(labels)

    def compute(self) -> Tensor:
        """Percentage over all updates and processes."""
        return 100 * self.missed / self.total


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

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: logits `(B, classes)`, labels `(B,)`."""
        self.summed += cross_entropy(logits, labels, reduction="sum")
        self.total += len(labels)

    def compute(self) -> Tensor:
        """Mean over all updates and processes."""
        return self.summed / self.total


class GCPModule(LightningModule):
    """Training and evaluation of a `GCPClassifier`.

    Metrics are `train/` and `val/` + `loss`, `top1_error`, `top5_error` (percent), one value an epoch. The network's
    meta-layer can be exchanged in mid-training by `use_meta_layer`.

    Args:
        network: Maps images to logits; has attributes `meta_layer` and `classifier`.
        optimizer: Makes the optimiser from parameter groups, as a `_partial_` of Hydra does.
        schedule: Epochs and decays of the learning rate.
        classifier_lr_multiplier: The classifier's learning rate over that of all other parameters.
        meta_layer_name: Name of the network's meta-layer, for the record.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        *,
        classifier_lr_multiplier: float = 1.0,
        meta_layer_name: str = "",
    ) -> None:
        super().__init__()
        self.save_hyperparameters(
            {  # plain containers alone: a checkpoint must load with weights_only
                "schedule": asdict(schedule) | {"milestones": list(schedule.milestones)},
                "classifier_lr_multiplier": float(classifier_lr_multiplier),
            },
            logger=False,
        )
        self.network = network
        self.optimizer_factory = optimizer
        self.schedule = schedule
        self.classifier_lr_multiplier = classifier_lr_multiplier
        self.meta_layer_name = meta_layer_name
        self.metrics = nn.ModuleDict({"train_": _metrics(), "val_": _metrics()})
        self.use_layer_of: Callable[[int], None] | None = None  # set by the hybrid protocol: takes an epoch

    def use_meta_layer(self, name: str, layer: nn.Module) -> None:
        """Put `layer` in the place of the network's meta-layer, on the module's device and in its mode."""
        self.network.meta_layer = layer.to(self.device).train(self.training)
        self.meta_layer_name = name

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(B, num_classes)` of normalised images `(B, channels, H, W)`.

        Several views of each image, `(B, views, channels, H, W)`, give the mean of their logits.
        """
        several = images.ndim == 5
        logits: Tensor = self.network(images.flatten(0, 1) if several else images)
        return logits.view(*images.shape[:2], -1).mean(1) if several else logits

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of a batch.

        Raises:
            NonFiniteError: The loss is NaN or infinite. To look at it waits for the device, which costs nothing
                beside a decomposition: those wait too.
        """
        loss = self._score("train", batch)
        if not torch.isfinite(loss):
            raise NonFiniteError(
                f"training needs a finite loss; got {loss.item()} in epoch {self.current_epoch}, batch {batch_idx}, with "
                f"{self.meta_layer_name or 'the meta-layer'}: lower optimizer.lr, set gradient_clip_norm, or use dtype float64"
            )
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Report with the last batch: callbacks see the epoch's end before the module does."""
        if self.trainer.is_last_batch:
            self._report("train")

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Metrics of a batch."""
        self._score("val", batch)

    def on_validation_epoch_end(self) -> None:
        """Report."""
        self._report("val")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser over two groups, "network" and "classifier", and step decay of both rates."""
        optimizer = self.optimizer_factory(self._parameter_groups())
        optimizer.param_groups[-1]["lr"] *= self.classifier_lr_multiplier
        decay = MultiStepLR(optimizer, milestones=list(self.schedule.milestones), gamma=self.schedule.gamma)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "epoch"}}

    def learning_rate(self) -> float:
        """Rate of the parameters outside the classifier, now."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sums of an epoch that was stopped half way, so that its metrics cover all of it."""
        checkpoint["train_metrics"] = {
            name: {key: torch.as_tensor(value) for key, value in metric.metric_state.items()}
            for name, metric in self._metrics_of("train").items()
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take those sums up again, with the layer that the checkpoint's weights, loaded next, were trained with."""
        if self.use_layer_of is not None:
            self.use_layer_of(checkpoint["epoch"])
        for name, state in checkpoint["train_metrics"].items():
            metric = self._metrics_of("train")[name]
            for key, value in state.items():
                setattr(metric, key, value.to(metric.device))
            metric._update_count = 1  # else `compute` may warn that nothing came before it

    def _score(self, split: str, batch: Batch) -> Tensor:
        """Loss of a batch, with the metrics of `split` updated."""
        images, labels = batch
        logits = self(images)
        loss = cross_entropy(logits, labels)
        for metric in self._metrics_of(split).values():
            metric.update(logits.detach(), labels)
        return loss

    def _report(self, split: str) -> None:
        """Log the metrics of an epoch, over all processes, and start their sums anew."""
        for name, metric in self._metrics_of(split).items():
            shown = (split, name) == ("val", "top1_error")
            value = metric.compute()
            self.log(f"{split}/{name}", value, prog_bar=shown, on_step=False, on_epoch=True, logger=False, batch_size=1)
            metric.reset()

    def _metrics_of(self, split: str) -> dict[str, Metric]:
        return dict(self.metrics[f"{split}_"].items())  # type: ignore[operator]

    def _parameter_groups(self) -> list[dict[str, Any]]:
        own = list(self.network.get_submodule("classifier").parameters())
        ids = {id(parameter) for parameter in own}
        rest = [parameter for parameter in self.network.parameters() if id(parameter) not in ids]
        return [{"name": "network", "params": rest}, {"name": "classifier", "params": own}]


def _metrics() -> nn.ModuleDict:
    return nn.ModuleDict(
        {
            "loss": MeanCrossEntropy(),
            "top1_error": TopKError(top_k=1),
            "top5_error": TopKError(top_k=5),
        }
    )
