"""What two processes train together, in one session: started twice, as torchrun starts them.

    python session_of_processes.py FOLDER

Writes what the tests look at into FOLDER: run directories, and `session.json` with what each step of the session ended with.
"""

import json
import signal
import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_module

from gcp_repro.errors import GCPError
from gcp_repro.runs import RunDirectory, register_resolvers
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.runs.processes import first_process
from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.run import train
from tests.conftest import TINY

PLAIN_STAGE = "{channels: 8, kernel: 3, batch_norm: false}"
WITHOUT_BATCH_NORM = f"model.backbone.stages=[{PLAIN_STAGE}, {PLAIN_STAGE}]"
PAIR = ["trainer.devices=2", "trainer.strategy=ddp"]
ALIKE = [WITHOUT_BATCH_NORM, "optimizer.lr=0.02", "trainer.limit_val_batches=1.0"]
ALIKE += ["data.train_size=45"]  # the last of five steps has five images
SHARDED = ["trainer.devices=2", "trainer.strategy=fsdp"]
ADAMW = ["~optimizer", "+optimizer={_target_: torch.optim.AdamW, _partial_: true, lr: 0.002}"]

LIKE_ONE = {
    "sgd": ALIKE,
    "adamw": [*ALIKE, *ADAMW],
    "passes": [*ALIKE, "trainer.accumulate_grad_batches=5"],
    "compiled": [*ALIKE, "compile={backend: aot_eager}"],
}
IN_PARTS = [*ALIKE, *ADAMW, "protocol=hybrid", "meta_layer=svd_pade", "gradient_clip_norm=0.5"]


def configured(folder, *overrides):
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        return compose("train", [*TINY, f"paths.runs_dir={folder}", *overrides])


def stop_at(epoch, batch):
    def on_train_batch_start(self, _, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch) and self.global_rank == 0:
            signal.raise_signal(signal.SIGTERM)

    GCPModule.on_train_batch_start = on_train_batch_start


def spoil(rank, epoch, batch, split):
    step = getattr(GCPModule, f"{split}_step")

    def spoiled(self, data, batch_idx):
        if (self.global_rank, self.current_epoch, batch_idx) != (rank, epoch, batch):
            return step(self, data, batch_idx)
        handle = self.network.backbone.register_forward_hook(lambda *arguments: arguments[-1] * torch.nan)
        try:
            return step(self, data, batch_idx)
        finally:
            handle.remove()

    setattr(GCPModule, f"{split}_step", spoiled)
    return lambda: setattr(GCPModule, f"{split}_step", step)


def ended(config):
    """How a run ends, in a word."""
    try:
        return train(config)["result"]["status"]
    except TrainingInterrupted:
        return "interrupted"
    except GCPError as error:
        return type(error).__name__


def session(folder):
    outcome = {}
    for name, options in LIKE_ONE.items():
        outcome[name] = ended(configured(folder / name, *PAIR, *options))
    stop_at(3, 2)
    sharded = configured(folder / "sharded", *SHARDED, *IN_PARTS)
    outcome["sharded, stopped"] = ended(sharded)
    GCPModule.on_train_batch_start = lambda *_: None
    outcome["sharded"] = ended(sharded)
    mend = spoil(1, 1, 1, "training")
    outcome["spoiled sharded"] = ended(configured(folder / "spoiled_sharded", *SHARDED, "callbacks=default"))
    mend()
    stop_at(1, 2)
    resumed = configured(folder / "resumed", *PAIR, "callbacks=default", "callbacks.condition_number.every_n_steps=1")
    outcome["stopped"] = ended(resumed)
    GCPModule.on_train_batch_start = lambda *_: None
    outcome["resumed"] = ended(resumed)
    outcome["whole"] = ended(
        configured(folder / "whole", *PAIR, "callbacks=default", "callbacks.condition_number.every_n_steps=1")
    )
    for split in ("training", "validation"):
        mend = spoil(1, 1, 1 if split == "training" else 0, split)
        outcome[f"spoiled {split}"] = ended(configured(folder / f"spoiled_{split}", *PAIR, "meta_layer=svd_pade"))
        mend()
    mend = spoil(1, 1, 1, "training")
    outcome["skipped"] = ended(configured(folder / "skipped", *PAIR, "meta_layer=svd_pade", "on_nonfinite_step=skip"))
    mend()
    outcome["uneven"] = ended(configured(folder / "uneven", *PAIR, "data.batch_size=9"))
    return outcome


if __name__ == "__main__":
    register_resolvers()
    folder = Path(sys.argv[1])
    outcome = session(folder)
    if first_process():
        RunDirectory(folder).path.joinpath("session.json").write_text(json.dumps(outcome))
