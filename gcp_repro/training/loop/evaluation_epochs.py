"""When a run is evaluated: after every epoch or every k-th one, and in any case after the last."""

from __future__ import annotations

from omegaconf import DictConfig
from pytorch_lightning import Callback, LightningModule, Trainer

from gcp_repro.errors import OptionError

__all__ = ["EvaluateLastEpoch", "check_evaluation"]


def check_evaluation(trainer: DictConfig) -> None:
    """Refuse a trainer's options under which a run would end without its errors.

    Raises:
        OptionError: "a run needs validation batches for its errors; got trainer.limit_val_batches=0: ..."
    """
    limit, every = trainer.get("limit_val_batches", 1.0), trainer.get("check_val_every_n_epoch", 1)
    if limit == 0:
        raise OptionError(
            f"a run needs validation batches for its errors; got trainer.limit_val_batches={limit}: set it to 1 for one batch, "
            "or evaluate less often with trainer.check_val_every_n_epoch"
        )
    if every is None or every < 1:
        raise OptionError(
            f"trainer.check_val_every_n_epoch needs a whole number of epochs from 1 on; got {every}: with a number of epochs or "
            "more only the last is evaluated"
        )


class EvaluateLastEpoch(Callback):
    """Lets the last epoch be evaluated whatever `trainer.check_val_every_n_epoch` says: its errors are the run's."""

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Lightning looks at the number when the epoch's batches are over."""
        if trainer.max_epochs is not None and trainer.current_epoch == trainer.max_epochs - 1:
            trainer.check_val_every_n_epoch = 1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The same where the last epoch is resumed half way."""
        self.on_train_epoch_start(trainer, pl_module)
