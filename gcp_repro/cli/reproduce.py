"""`gcp-reproduce`: train every layer and protocol on the embedded data sets, then build the report.

Each run is what `gcp-train` with the same overrides would make, in the same directory, so that finished runs are skipped and
interrupted ones resumed. All runs share one pool of worker processes, each with one thread.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import joblib
from rich.console import Console

from gcp_repro.cli.tables import main as tables
from gcp_repro.metalayers import META_LAYERS, REFERENCE_LAYER

__all__ = ["main"]

PUBLISHED_GRADIENTS = tuple(name for name, row in META_LAYERS.items() if row.published and name != REFERENCE_LAYER)
EXACT_GRADIENTS = (REFERENCE_LAYER, "svd_lyapunov")  # the same function on every route, so the fastest one is taken
DENSE = {"meta_layer__route": ("dense",)}  # the paper's computation, with the noise of the null space
WEIGHTS = {"digits": 1.0, "digits_few": 0.7, "textures": 2.2}  # relative cost of a run, for the time left


@dataclass(frozen=True)
class Plan:
    """One run: its experiment and the overrides that `gcp-train` would get."""

    experiment: str
    overrides: tuple[str, ...]

    @property
    def weight(self) -> float:
        return WEIGHTS[self.experiment]

    def __str__(self) -> str:
        return " ".join(override.removeprefix("meta_layer.") for override in self.overrides)


def grid(experiment: str, seeds: int, **choices: tuple[str, ...]) -> list[Plan]:
    """All combinations; `__` stands for the dot in a key, as in `meta_layer__dtype`.

    Seeds run side by side: the first hybrid layer trains the initial stage of each seed, and the others go on from there.
    """
    keys = [key.replace("__", ".") for key in choices]
    return [
        Plan(experiment, (f"experiment={experiment}", *map("=".join, zip(keys, values, strict=True)), f"seed={seed}"))
        for values, seed in product(product(*choices.values()), range(seeds))
    ]


def table2(experiment: str, seeds: int) -> list[Plan]:
    """The rows of the paper's Table 2, average pooling and the exact gradient, standalone and hybrid."""
    hybrid = {"protocol": ("hybrid",), "protocol__initial__route": ("auto",)}
    return [
        *grid(experiment, seeds, meta_layer=("gap",)),
        *grid(experiment, seeds, meta_layer=EXACT_GRADIENTS),
        *grid(experiment, seeds, meta_layer=PUBLISHED_GRADIENTS, **DENSE),
        *grid(experiment, seeds, meta_layer=("svd_lyapunov",), **hybrid),
        *grid(experiment, seeds, meta_layer=PUBLISHED_GRADIENTS, **hybrid, **DENSE),
    ]


def plans(quick: bool) -> list[Plan]:
    """Table 2 on digits and textures; on the digits also float32, TopN as published, the rank-aware route, fewer examples."""
    seeds, fewer = (1, 1) if quick else (5, 3)
    float32 = {"meta_layer__dtype": ("float32",), **DENSE}
    digits = [
        *table2("digits", seeds),
        *grid("digits", seeds, meta_layer=("mpn_cov",), **float32),
        *grid("digits", seeds, meta_layer=("isqrt_cov",), meta_layer__solver=("products",), **float32),
        *grid("digits", fewer, meta_layer=("svd_topn",), meta_layer__top_n=("14",), **DENSE),
        *grid("digits", fewer, meta_layer=("mpn_cov", "svd_pade"), meta_layer__route=("gram",)),
    ]
    if quick:
        return digits
    return [
        *digits,
        *grid("digits_few", seeds, meta_layer=("gap", "isqrt_cov")),
        *grid("digits_few", seeds, meta_layer=("mpn_cov",), **DENSE),
        *table2("textures", 2),
    ]


def run(plan: Plan, runs_dir: str) -> tuple[Plan, dict[str, Any]]:
    """Train one configuration in a worker process."""
    from hydra import compose, initialize_config_module

    from gcp_repro.runs import register_resolvers
    from gcp_repro.training.run import train

    register_resolvers()
    with initialize_config_module("gcp_repro.configs", version_base="1.3"):
        config = compose("train", [*plan.overrides, f"paths.runs_dir={runs_dir}", "trainer=cpu", "trainer.num_threads=1"])
    _quieten()
    return plan, train(config)["result"]


def _quieten() -> None:
    """What runs say goes to their logs alone."""
    logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    logging.getLogger("pytorch_lightning").handlers.clear()


class Progress:
    """One line a finished run, with what is left: legible in a terminal, a log and under make alike."""

    def __init__(self, planned: list[Plan]) -> None:
        self.console = Console()
        self.planned, self.done, self.start = planned, 0, time.monotonic()
        self.left = sum(plan.weight for plan in planned)
        self.spent = 0.0

    def finished(self, plan: Plan, result: dict[str, Any]) -> None:
        self.done += 1
        self.left -= plan.weight
        self.spent += plan.weight
        elapsed = time.monotonic() - self.start
        outcome = "diverged" if result["status"] == "diverged" else f"error {result['final_top1_error']:5.2f} %"
        remaining = _duration(elapsed / self.spent * self.left)
        self.console.print(
            f"[{self.done:3d}/{len(self.planned)}] {outcome} | {plan} | {_duration(elapsed)} gone, about {remaining} left",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; the exit status is that of the report."""
    parser = argparse.ArgumentParser(
        prog="gcp-reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="digits alone, one seed: at most two minutes on two cores")
    parser.add_argument(
        "--jobs", type=int, default=max(1, min(4, os.cpu_count() or 1)), help="worker processes (default: cores, at most 4)"
    )
    parser.add_argument("--runs-dir", default="runs", help="where runs are kept (default: runs)")
    parser.add_argument("--report", default="reports/index.html", help="the page to write (default: reports/index.html)")
    options = parser.parse_args(arguments)

    planned = plans(options.quick)
    progress = Progress(planned)
    print(f"{len(planned)} runs with {options.jobs} workers; finished ones are skipped, interrupted ones resumed", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers
    with joblib.Parallel(n_jobs=options.jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="all") as parallel:
        for plan, result in parallel(joblib.delayed(run)(plan, options.runs_dir) for plan in planned):
            progress.finished(plan, result)
    code = tables([options.runs_dir, "--output", options.report])
    if code == 0:
        print(f"\nThe report: {Path(options.report).resolve()}")
    return code


if __name__ == "__main__":
    sys.exit(main())
