"""Choose the textures experiment's network and learning rate on its validation split; the test blocks are never read.

    OMP_NUM_THREADS=1 python scripts/textures_search.py > search.md

prints a Markdown table: mean and range over seeds of the validation error at the last epoch, and the seconds of a run,
10 to 20 on one core. `docs/embedded_data.md` has the outcome.
"""

from __future__ import annotations

import argparse
import itertools
import time

import torch
from torch.nn.functional import cross_entropy

from gcp_repro.data import TexturesDataModule
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.models import ConvStage, GCPClassifier, NarrowAlexNet

NETWORKS = {
    "conv5/2 pool conv3 conv3": [
        ConvStage(24, kernel=5, stride=2, padding=1, pool=2),
        ConvStage(48, kernel=3),
        ConvStage(64, kernel=3),
    ],
    "conv5/2 conv3 pool conv3": [
        ConvStage(24, kernel=5, stride=2, padding=1),
        ConvStage(48, kernel=3, pool=2),
        ConvStage(64, kernel=3),
    ],
    "conv7/4 conv3 conv3": [
        ConvStage(24, kernel=7, stride=4, padding=1),
        ConvStage(48, kernel=3),
        ConvStage(64, kernel=3),
    ],
}
STAGE_EPOCHS = 5
DECAYS = 3


def train_and_validate(
    stages: list[ConvStage], patches: int, meta_layer: str, lr: float, weight_decay: float, seed: int
) -> float:
    """Top-1 error in percent on the validation blocks after 15 epochs of the experiment's schedule."""
    torch.manual_seed(seed)
    data = TexturesDataModule(split="validation", train_patches=patches, eval_batch_size=256, seed=seed)
    data.setup("fit")
    network = GCPClassifier(NarrowAlexNet(stages, data.in_channels), build_meta_layer(meta_layer), data.num_classes)
    optimizer = torch.optim.SGD(network.parameters(), lr=lr, momentum=0.9, weight_decay=weight_decay)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, STAGE_EPOCHS, gamma=0.1)
    loader = data.train_dataloader()
    for epoch in range(STAGE_EPOCHS * DECAYS):
        loader.batch_sampler.sampler.set_epoch(epoch)
        for images, labels in loader:
            optimizer.zero_grad()
            cross_entropy(network(images), labels).backward()
            optimizer.step()
        scheduler.step()
    network.eval()
    with torch.no_grad():
        wrong = torch.cat([network(images).argmax(1) != labels for images, labels in data.val_dataloader()])
    return 100 * wrong.float().mean().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--patches", nargs="+", type=int, default=[100], help="training patches a class")
    parser.add_argument("--layers", nargs="+", default=["gap", "isqrt_cov"])
    parser.add_argument("--lr", nargs="+", type=float, default=[0.03, 0.1])
    parser.add_argument("--weight-decay", nargs="+", type=float, default=[5e-4])
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    grid = itertools.product(options.networks, options.patches, options.layers, options.lr, options.weight_decay)
    print("| network | patches | layer | lr | weight decay | error % | range | s |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |", flush=True)
    for network, *choice in grid:
        start = time.perf_counter()
        errors = [train_and_validate(NETWORKS[network], *choice, seed) for seed in range(options.seeds)]
        seconds = (time.perf_counter() - start) / len(errors)
        spread = f"{min(errors):.1f} to {max(errors):.1f}"
        cells = [network, *choice, f"{sum(errors) / len(errors):.1f}", spread, f"{seconds:.0f}"]
        print(f"| {' | '.join(map(str, cells))} |", flush=True)


if __name__ == "__main__":
    main()
