"""Whether differences of docs/study.md are those of the layers or of the test images: the same networks on other images.

    python -m scripts.study.other_images RUNS [--questions 2] [--output results/study]

All runs are judged on the same 4,000 test images, so that an interval over seeds says nothing of the choice of images. Here
every network behind a comparison of these questions is scored, after its last epoch, on the other 6,000 test images. Writes
other_images.csv, a row a comparison: the difference on them, its standard error over seeds and over images, and the interval from
both together (Student's quantile for the seeds).
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from scipy import stats
from sklearn.model_selection import train_test_split
from torch import Tensor

from gcp_repro.runs.directory import RunDirectory
from gcp_repro.training.result import git_revision
from scripts.study.comparisons import read_runs
from scripts.study.networks import data_of, network_of
from scripts.study.questions import Comparison, comparisons

JUDGED, BATCH = 4000, 500  # test images of all runs; of one forward pass
Wrong = dict[str, npt.NDArray[np.bool_]]  # by configuration hash: which images a network gets wrong


def other_images(run: RunDirectory) -> tuple[Tensor, Tensor, Any]:
    """Test images that judge no run, as the data module hands them out, their labels, and the data module."""
    datamodule = data_of(run, eval_size=None, eval_batch_size=BATCH)
    images, labels = (torch.cat(parts) for parts in zip(*datamodule.val_dataloader(), strict=True))
    _, others = train_test_split(np.arange(len(labels)), train_size=JUDGED, stratify=labels.numpy(), random_state=0)
    rows = torch.from_numpy(np.sort(others))
    return images[rows], labels[rows], datamodule


def wrong(run: RunDirectory, images: Tensor, labels: Tensor, datamodule: Any) -> npt.NDArray[np.bool_]:
    """Which images the network of a finished run gets wrong."""
    network = network_of(run, datamodule)
    found = []
    with torch.no_grad():
        for batch in zip(images.split(BATCH), labels.split(BATCH), strict=True):
            inputs, targets = datamodule.on_after_batch_transfer(list(batch), 0)
            found.append(network(inputs).argmax(1) != targets)
    return torch.cat(found).numpy()


def row(comparison: Comparison, runs: pd.DataFrame, scored: Wrong) -> dict[str, Any]:
    """The difference of a comparison on the other images, in points."""
    arm, reference = (part["config_hash"] for part in comparison.outcomes(runs))
    seeds = arm.index.intersection(reference.index)
    differences = np.stack([scored[arm[seed]].astype(float) - scored[reference[seed]] for seed in seeds]) * 100
    n, images = differences.shape
    of_seeds = differences.mean(1).std(ddof=1) / math.sqrt(n)
    of_images = differences.mean(0).std(ddof=1) / math.sqrt(images)
    half = stats.t.ppf(0.975, n - 1) * math.hypot(of_seeds, of_images)
    mean = float(differences.mean())
    about = {"question": comparison.question, "family": comparison.family, "comparison": comparison.name}
    errors = {"seed_error": float(of_seeds), "image_error": float(of_images)}
    return about | {"n": n, "images": images, "difference": mean, **errors, "low": mean - half, "high": mean + half}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="folder of the runs, as in paths.runs_dir")
    parser.add_argument("--questions", type=int, nargs="*", default=[2], help="whose comparisons are scored")
    parser.add_argument("--output", type=Path, default=Path("results/study"), help="folder of runs.csv, and to write to")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    runs = read_runs(arguments.output)
    places = {
        path.name.rpartition("-")[2]: RunDirectory(path) for path in arguments.runs.glob("*/*") if (path / "result.json").exists()
    }
    chosen = [one for one in comparisons(runs) if one.question in arguments.questions and one.family == "planned"]
    images: tuple[Tensor, Tensor, Any] | None = None
    scored: Wrong = {}
    rows = []
    for comparison in chosen:
        arm, reference = comparison.outcomes(runs)
        seeds = arm.index.intersection(reference.index)
        if len(seeds) < 2:
            continue
        for name in [*arm.loc[seeds, "config_hash"], *reference.loc[seeds, "config_hash"]]:
            if name not in scored:
                images = images or other_images(places[name])
                scored[name] = wrong(places[name], *images)
        rows.append(row(comparison, runs, scored))
        print(rows[-1], flush=True)
    table = pd.DataFrame(rows).assign(git_revision=git_revision())
    table.to_csv(arguments.output / "other_images.csv", index=False, float_format="%.4g", lineterminator="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
