"""Pictures of what the network sees: the first batch of training and of evaluation, after every transform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning_utilities.core.rank_zero import rank_zero_only
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import WandbLogger
from torch import Tensor
from torchvision.utils import make_grid, save_image

__all__ = ["SampleImages", "displayed"]


def displayed(images: Tensor, mean: Any, std: Any) -> Tensor:
    """Normalised images as they were before, clipped to what can be shown.

    Args:
        images: `(B, C, H, W)`, or `(B, views, C, H, W)`, of which the first view is taken.
        mean: C means on the scale 0 to 1.
        std: C deviations.

    Returns:
        `(B, C, H, W)`, from 0 to 1, float32, on the CPU.
    """
    images = (images[:, 0] if images.ndim == 5 else images).detach().float().cpu()
    return (images * torch.tensor(std).view(-1, 1, 1) + torch.tensor(mean).view(-1, 1, 1)).clamp(0, 1)


class SampleImages(Callback):
    """Writes `images_train.png` and `images_val.png` once a start, and sends them to Weights & Biases.

    Args:
        folder: Where to write them, the run directory.
        count: Images of the batch to show.
    """

    def __init__(self, folder: str | Path, count: int = 16) -> None:
        self.folder = Path(folder)
        self.count = count
        self._shown: set[str] = set()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Show the first training batch."""
        self._show("train", trainer, batch[0])

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Show the first evaluation batch."""
        self._show("val", trainer, batch[0])

    @rank_zero_only
    def _show(self, split: str, trainer: Trainer, images: Tensor) -> None:
        if split in self._shown:
            return
        self._shown.add(split)
        data: Any = trainer.datamodule  # type: ignore[attr-defined]
        grid = make_grid(displayed(images[: self.count], data.mean, data.std), nrow=8)
        path = self.folder / f"images_{split}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        save_image(grid, path)
        for logger in trainer.loggers:
            if isinstance(logger, WandbLogger):
                logger.log_image(f"images/{split}", [str(path)])
