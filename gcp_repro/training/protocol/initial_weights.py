"""Fine-tuning: a run that starts from the weights of another run."""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from gcp_repro.errors import DataError, MissingPathError
from gcp_repro.metalayers import is_extra_state
from gcp_repro.training.protocol.matching_run import MatchingRun
from gcp_repro.user_paths import user_path
from gcp_repro.weight_files import load_plain

__all__ = ["InitialWeights"]

log = logging.getLogger(__name__)

PREFIX = "network."
CLASSIFIER = "classifier."


class InitialWeights(Callback):
    """Loads the network of another run, all but its classifier, before training starts.

    A run that resumes goes on from its own checkpoint, which is loaded afterwards.

    Args:
        checkpoint: `checkpoints/last.ckpt` of the other run.
        run: Finds that run by name where no checkpoint is given. Without either, training starts from random weights, with
            a warning.

    Raises:
        DataError: There is no such run, the file is missing, is no checkpoint of a run, or its weights do not fit; raised
            when training is set up.
    """

    def __init__(self, checkpoint: str | None = None, run: MatchingRun | None = None) -> None:
        self.checkpoint = None if checkpoint is None else user_path(checkpoint)
        self.run = run

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the weights."""
        if stage != "fit":
            return
        checkpoint = self.checkpoint or (self.run.checkpoint() if self.run else None)
        if checkpoint is None:
            log.warning(
                "training starts from random weights; the paper fine-tunes an ImageNet model: "
                "set callbacks.initial_weights.checkpoint=RUN/checkpoints/last.ckpt"
            )
            return
        network = pl_module.network
        assert isinstance(network, torch.nn.Module)
        own = {name: weight for name, weight in network.state_dict().items() if not _is_left_out(name)}
        weights = _network_weights(checkpoint)
        unfit = [name for name in own if name not in weights or weights[name].shape != own[name].shape]
        if unfit:
            raise DataError(
                f"initial weights need the backbone and reduction of this model; {checkpoint} has none that fit "
                f"{len(unfit)} of {len(own)} tensors, as {unfit[0]}: train the same model on ImageNet first, as with "
                "gcp-train experiment=resnet50_imagenet protocol=hybrid"
            )
        network.load_state_dict({name: weights[name] for name in own}, strict=False)
        log.info("starting from the weights in %s", checkpoint)


def _is_left_out(name: str) -> bool:
    """The classifier is made anew, and the layer may be another one."""
    return name.startswith(CLASSIFIER) or is_extra_state(name)


def _network_weights(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise MissingPathError(
            f"initial weights need a checkpoint; there is no file {path}: train it with gcp-train "
            "experiment=resnet50_imagenet protocol=hybrid, or correct callbacks.initial_weights.checkpoint"
        )
    try:
        state = load_plain(path)["state_dict"]
    except Exception as error:  # a file without "state_dict" can be anything
        raise DataError(
            f"initial weights need a run's checkpoint; loading {path} gave {error}: name checkpoints/last.ckpt"
        ) from error
    return {name.removeprefix(PREFIX): weight for name, weight in state.items() if name.startswith(PREFIX)}
