"""Train over a stream in two processes that write down what they see: whole, stopped in mid-epoch, and resumed.

python recorded_fit.py FORMAT FOLDER URL...
"""

import contextlib
import hashlib
import json
import sys
import warnings
from pathlib import Path

import pytorch_lightning as pl

from tests.fakes.shards import stream
from tests.fakes.stopping_module import StoppingModule

EPOCHS = 2
STOP_AT = 5  # steps


class Recorder(StoppingModule):
    """Takes down labels and digests of images."""

    def __init__(self, stop_at=None):
        super().__init__(stop_at)
        self.trained, self.evaluated = [], []

    def training_step(self, batch, batch_idx):
        images, labels = batch
        digests = [hashlib.sha256(image.contiguous().numpy().tobytes()).hexdigest() for image in images]
        self.trained.append((self.current_epoch, list(zip(labels.tolist(), digests, strict=True))))
        return self.weight.sum()

    def validation_step(self, batch, batch_idx):
        self.evaluated.append((self.current_epoch, batch[1].tolist()))


def fit(folder, format, urls, module, **options):
    trainer = pl.Trainer(
        max_epochs=EPOCHS, accelerator="cpu", devices=2, strategy="ddp", logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=0, use_distributed_sampler=False,
        default_root_dir=folder,
    )  # fmt: skip
    data = stream(urls, format=format, batch_size=4, num_workers=1, seed=3)
    with contextlib.suppress(InterruptedError):
        trainer.fit(module, datamodule=data, **options)
    return {"trained": module.trained, "evaluated": module.evaluated}, trainer.global_rank


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    format, folder, *urls = sys.argv[1:]
    whole, rank = fit(folder, format, urls, Recorder())
    stopped, _ = fit(folder, format, urls, Recorder(STOP_AT))
    resumed, _ = fit(folder, format, urls, Recorder(), ckpt_path=f"{folder}/stopped.ckpt")
    record = {"whole": whole, "stopped": stopped, "resumed": resumed}
    (Path(folder) / f"rank-{rank}.json").write_text(json.dumps(record))
