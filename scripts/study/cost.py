"""Question 7 of docs/study.md: what a training step costs with each layer, and how many epochs that leaves at equal seconds.

    python -m scripts.study.cost [--rounds 9] [--output results/study/cost.csv]

Processor seconds of one thread for forward and backward of the whole network of `experiment=study` on one batch: other work on
the machine lengthens them little. Every round times every layer once, so that a slow moment meets all of them. A row holds a
layer's median over rounds, the median and quartiles of its ratio to `svd_lyapunov` in the same round, and the epochs that cost as
much as 10 of those.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import torch
from hydra import compose, initialize_config_module
from torch import Tensor, nn

from gcp_repro.training.build import build, build_network
from gcp_repro.training.result import git_revision

BATCH, CLASSES, EPOCHS = 32, 10, 10
STEPS = 8  # in one measurement
REFERENCE = ("svd_lyapunov", "auto")
CASES = (
    REFERENCE,
    ("isqrt_cov", "auto"),
    ("isqrt_cov", "dense"),
    ("mpn_cov", "gram"),
    *((name, "dense") for name in ("mpn_cov", "svd_pade", "svd_taylor", "svd_trunc", "svd_newton", "svd_topn")),
)


def network(layer: str, route: str) -> nn.Module:
    """The study's network around a layer in float64."""
    config = compose("train", ["experiment=study", f"meta_layer={layer}", f"meta_layer.route={route}"])
    return build_network(config.model, SimpleNamespace(in_channels=1, num_classes=CLASSES), build(config.meta_layer))


def processor_seconds(model: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Of one forward and backward pass, the mean of some."""
    start = time.process_time()
    for _ in range(STEPS):
        model.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
    return (time.process_time() - start) / STEPS


def table(rounds: pd.DataFrame) -> pd.DataFrame:
    """A row a layer from seconds by round (rows) and layer (columns)."""
    ratios = rounds.div(rounds[REFERENCE], axis=0)
    rows = [
        {
            "layer": case[0],
            "route": case[1],
            "rounds": len(rounds),
            "seconds_a_step": rounds[case].median(),
            "ratio": ratios[case].median(),
            "ratio_25": ratios[case].quantile(0.25),
            "ratio_75": ratios[case].quantile(0.75),
            "epochs_at_equal_seconds": max(1, round(EPOCHS / ratios[case].median())),
        }
        for case in rounds
    ]
    return pd.DataFrame(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9, help="times that every layer is measured")
    parser.add_argument("--output", default="results/study/cost.csv", help="csv file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images, labels = torch.rand(BATCH, 1, 28, 28), torch.randint(CLASSES, (BATCH,))
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        models = {case: network(*case) for case in CASES}
    for model in models.values():
        processor_seconds(model, images, labels)  # the first pass allocates
    rounds = [{case: processor_seconds(model, images, labels) for case, model in models.items()} for _ in range(arguments.rounds)]
    found = table(pd.DataFrame(rounds)[list(CASES)]).assign(
        command="python -m scripts.study.cost", torch=torch.__version__, git_revision=git_revision()
    )
    Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    found.to_csv(arguments.output, index=False, float_format="%.4g", lineterminator="\n")
    print(found.iloc[:, :8].to_string(index=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
