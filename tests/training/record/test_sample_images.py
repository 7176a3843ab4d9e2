from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from pytorch_lightning.loggers import WandbLogger

from gcp_repro.data.base import normalize
from gcp_repro.training.record.sample_images import SampleImages, displayed
from gcp_repro.training.run import train

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_normalisation_is_undone():
    images = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    normalized = normalize(images, MEAN, STD)
    for shown in (displayed(normalized, MEAN, STD), displayed(torch.stack([normalized, -normalized], 1), MEAN, STD)):
        torch.testing.assert_close(shown, images / 255, rtol=0, atol=1e-6)


def test_the_first_batch_alone_is_written_and_sent(tmp_path, monkeypatch):
    sent = []
    monkeypatch.setattr(WandbLogger, "log_image", lambda self, name, images: sent.append((name, images)))
    logger = WandbLogger.__new__(WandbLogger)
    trainer = SimpleNamespace(datamodule=SimpleNamespace(mean=(0.0,) * 3, std=(1.0,) * 3), loggers=[logger])
    callback = SampleImages(tmp_path / "run", count=2)
    for level in (0.2, 0.9):
        callback.on_train_batch_start(trainer, None, (torch.full((3, 3, 4, 4), level), None), 0)
    picture = np.asarray(Image.open(tmp_path / "run" / "images_train.png"))
    assert picture[2:6, 2:6].mean() == pytest.approx(0.2 * 255)
    assert picture.shape == (8, 14, 3)  # two images of 4 pixels in frames of 2
    assert sent == [("images/train", [str(tmp_path / "run" / "images_train.png")])]


def test_a_run_leaves_both_pictures(compose_tiny):
    config = compose_tiny("callbacks=sample_images")
    train(config)
    run = Path(config.paths.run_dir)
    assert all((run / f"images_{split}.png").stat().st_size for split in ("train", "val"))
