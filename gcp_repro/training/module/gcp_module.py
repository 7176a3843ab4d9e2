"""The one LightningModule: cross-entropy, SGD with step decay, top-1 and top-5 error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Any

import torch
import torch.distributed
from pytorch_lightning import LightningModule
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer
from torchmetrics import Metric

from gcp_repro.errors import NonFiniteError, OptionError
from gcp_repro.training.module.compilation import compile_part, compile_parts
from gcp_repro.training.module.metrics import classification_metrics
from gcp_repro.training.module.nonfinite import FiniteSteps, Outcome
from gcp_repro.training.processes.distributed import distributed
from gcp_repro.training.processes.sharding import shard
from gcp_repro.training.schedule.decay import build_scheduler
from gcp_repro.training.schedule.schedule import Schedule

__all__ = ["GCPModule"]

Batch = tuple[Tensor, Tensor]
OptimizerFactory = Callable[[Iterable[dict[str, Any]]], Optimizer]


class GCPModule(LightningModule):
    """Training and evaluation of a `GCPClassifier`.

    Metrics are `train/` and `val/` + `loss`, `top1_error`, `top5_error` (percent), one value an epoch. The network's
    meta-layer can be exchanged in mid-training by `use_meta_layer`.

    Args:
        network: Maps images to logits; has attributes `meta_layer` and `classifier`.
        optimizer: Makes the optimiser from parameter groups, as a `_partial_` of Hydra does.
        schedule: Epochs and decays of the learning rate.
        classifier_lr_multiplier: The classifier's learning rate over that of all other parameters.
        label_smoothing: Share of each label that is spread over all classes in the loss that is minimised; the metric `loss`
            has none.
        meta_layer_name: Name of the network's meta-layer, for the record.
        finite_steps: What happens where something is not finite; to be among the Trainer's callbacks as well, or gradients
            are not looked at.
        compile_options: Of `torch.compile`, which the parts of the network go through when training starts; None for none.

    Attributes:
        reports: The metrics of the present epoch as far as they are complete, by name.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: OptimizerFactory,
        schedule: Schedule,
        *,
        classifier_lr_multiplier: float = 1.0,
        label_smoothing: float = 0.0,
        meta_layer_name: str = "",
        finite_steps: FiniteSteps | None = None,
        compile_options: Mapping[str, Any] | None = None,
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
        if not 0 <= label_smoothing < 1:
            raise OptionError(f"label_smoothing needs a share from 0 to below 1; got {label_smoothing}: 0.1 is usual")
        self.label_smoothing = label_smoothing
        self.meta_layer_name = meta_layer_name
        self.use_layer_of: Callable[[int], None] | None = None  # set by the hybrid protocol: takes an epoch
        self.finite_steps = finite_steps or FiniteSteps()
        self.compile_options = compile_options
        self._compiled = self._sharded = False
        self.reports: dict[str, float] = {}
        self.metrics = nn.ModuleDict({f"{split}_": classification_metrics() for split in ("train", "val")})

    def configure_model(self) -> None:
        """Spread the weights over the processes, where the strategy does that."""
        mesh = self.device_mesh
        if mesh is not None and not self._sharded:
            shard(self.network, mesh["data_parallel"])
            self.finite_steps.folder, self._sharded = None, True  # no process has all weights to save beside a batch
            _let_all_pass(self.network.meta_layer)

    def setup(self, stage: str) -> None:
        """Compile for training; weights that are only scored are not worth the time."""
        if stage == "fit":
            compile_parts(self.network, self.compile_options)
            self._compiled = True

    def use_meta_layer(self, name: str, layer: nn.Module) -> None:
        """Put `layer` in the place of the network's meta-layer, on the module's device and in its mode."""
        self.network.meta_layer = layer.to(self.device).train(self.training)
        if self._sharded:
            _let_all_pass(layer)
        if self._compiled:
            compile_part(layer, self.compile_options)
        self.meta_layer_name = name

    def forward(self, images: Tensor) -> Tensor:
        """Logits `(B, num_classes)` of normalised images `(B, channels, H, W)`.

        Several views of each image, `(B, views, channels, H, W)`, give the mean of their logits.
        """
        several = images.ndim == 5
        logits: Tensor = self.network(images.flatten(0, 1) if several else images)
        return logits.view(*images.shape[:2], -1).mean(1) if several else logits

    @property
    def skips_step(self) -> bool:
        """Whether the present step is left out because something is not finite."""
        return self.finite_steps.skips_step

    def on_train_epoch_start(self) -> None:
        """A new epoch has no metrics yet; one that is resumed half way does not start here."""
        self.reports = {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean cross-entropy of a batch, weighted so that a step's gradient is the mean over all its images.

        Raises:
            DivergedError: It is not finite; see `FiniteSteps`.
        """
        logits, loss, _ = self.finite_steps.training_loss(self, batch, batch_idx, self._outcome)
        assert loss is not None
        if logits is None:
            return loss
        self._update_metrics("train", logits, batch[1])
        weight = self._loss_weight(batch_idx)
        return loss if weight == 1 else weight * loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Report with the last batch: callbacks see the epoch's end before the module does."""
        if self.trainer.is_last_batch:
            self._report("train")

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Metrics of a batch; returns its logits, for callbacks."""
        outcome = self._outcome(batch)
        self.finite_steps.watch_validation(self, batch, batch_idx, outcome)
        if outcome.logits is not None:
            self._update_metrics("val", outcome.logits, batch[1])
        return outcome.logits

    def on_validation_epoch_end(self) -> None:
        """Report.

        Raises:
            DivergedError: A batch was not finite.
        """
        self.finite_steps.end_validation(self)
        self._report("val")

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """The optimiser over two groups, "network" and "classifier", and step decay of both rates."""
        optimizer = self.optimizer_factory(self._parameter_groups())
        optimizer.param_groups[-1]["lr"] *= self.classifier_lr_multiplier
        decay = build_scheduler(optimizer, self.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": decay, "interval": "epoch"}}

    def learning_rate(self) -> float:
        """Rate of the parameters outside the classifier, now."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the sums of an epoch that was stopped half way, over all processes, so that its metrics cover all of it."""
        checkpoint["train_metrics"] = {
            name: {key: self._over_processes(torch.as_tensor(value)) for key, value in metric.metric_state.items()}
            for name, metric in self._metrics_of("train").items()
        }
        checkpoint["reports"] = dict(self.reports)
        checkpoint["passes"] = self.trainer.accumulate_grad_batches

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take those sums up again, in one process, with the layer that the weights, loaded next, were trained with."""
        if self.use_layer_of is not None:
            self.use_layer_of(checkpoint["epoch"])
        self.reports = dict(checkpoint["reports"])
        for name, state in checkpoint["train_metrics"].items():
            metric = self._metrics_of("train")[name]
            for key, value in state.items():
                own = value if self.global_rank == 0 else torch.zeros_like(value)
                setattr(metric, key, own.to(metric.device))
            metric._update_count = 1  # else `compute` may warn that nothing came before it
        _rescale_progress(checkpoint, self.trainer.accumulate_grad_batches)

    def _over_processes(self, value: Tensor) -> Tensor:
        if not distributed():
            return value
        total = value.clone()
        torch.distributed.all_reduce(total)
        return total

    def _outcome(self, batch: Batch) -> Outcome:
        """Logits and loss, or the error of a layer that met what it cannot decompose."""
        images, labels = batch
        try:
            logits = self(images)
            logits = logits if logits.dtype == torch.float64 else logits.float()  # a loss of three digits says nothing
        except (NonFiniteError, torch.linalg.LinAlgError) as error:  # type: ignore[attr-defined]
            return Outcome(None, None, error)
        smoothing = self.label_smoothing if self.training else 0.0
        return Outcome(logits, cross_entropy(logits, labels, label_smoothing=smoothing))

    def _loss_weight(self, batch_idx: int) -> float:
        loader = None if self._trainer is None else self._trainer.train_dataloader
        sampler = getattr(loader, "batch_sampler", None)
        weight: Callable[[int], float] | None = getattr(sampler, "loss_weight", None)
        return 1.0 if weight is None else weight(batch_idx)

    def _update_metrics(self, split: str, logits: Tensor, labels: Tensor) -> None:
        for metric in self._metrics_of(split).values():
            metric.update(logits.detach(), labels)

    def _report(self, split: str) -> None:
        """Log the metrics of an epoch, over all processes, and start their sums anew."""
        for name, metric in self._metrics_of(split).items():
            shown = (split, name) == ("val", "top1_error")
            value = metric.compute()
            self.reports[f"{split}/{name}"] = value.item()
            self.log(f"{split}/{name}", value, prog_bar=shown, on_step=False, on_epoch=True, logger=False, batch_size=1)
            metric.reset()

    def _metrics_of(self, split: str) -> dict[str, Metric]:
        return dict(self.metrics[f"{split}_"].items())  # type: ignore[operator]

    def _parameter_groups(self) -> list[dict[str, Any]]:
        own = list(self.network.get_submodule("classifier").parameters())
        ids = {id(parameter) for parameter in own}
        rest = [parameter for parameter in self.network.parameters() if id(parameter) not in ids]
        return [{"name": "network", "params": rest}, {"name": "classifier", "params": own}]


def _let_all_pass(layer: Any) -> None:
    """Features that are not finite become a loss that is not: an error in one process would leave the others waiting for it."""
    if hasattr(layer, "on_nonfinite"):
        layer.on_nonfinite = "propagate"


def _rescale_progress(checkpoint: dict[str, Any], passes: int) -> None:
    """Count the batches of a half-trained epoch in steps of `passes` batches, where it was begun with another number."""
    begun = checkpoint["passes"]
    if begun == passes:
        return
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        counts.update({name: count // begun * passes for name, count in counts.items()})
