"""`gcp-reproduce`: train the embedded experiment, all claims of the paper that minutes can show, and build the report.

Each run is what `gcp-train` with the same overrides would make, in the same directory, so that finished runs are skipped and
interrupted ones resumed. All runs share one pool of worker processes, each with one thread, which start once.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import joblib
from rich.console import Console

from gcp_repro.cli.mistakes import explained
from gcp_repro.cli.tables import main as tables
from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery.options import AtLeast, check_option
from gcp_repro.runs.durations import duration

__all__ = ["main"]

EXPERIMENT = "fashion_small"
SEEDS = 5  # the fewest from which the report claims a difference


@dataclass(frozen=True)
class Arm:
    """What is trained with every seed.

    Attributes:
        overrides: What `gcp-train` would get, beside experiment and seed.
        seconds: Of one core for a run, for the time left; measured on a 2.5 GHz server.
        quick: Whether `--quick` trains it too.
    """

    overrides: str
    seconds: float
    quick: bool = False


DENSE = "meta_layer.route=dense"  # the paper's computation, with the noise of the null space
FLOAT32 = "meta_layer.dtype=float32"
HYBRID = "protocol=hybrid protocol.initial.dtype=float64 protocol.initial.route=auto"  # one initial stage a seed for all of them
ALEXNET_HEAD = "model.hidden_dims=[256,256] optimizer.lr=0.05"

# SVD-TopN is not among them: it keeps 100 of 128 eigenvalues, of which at most 48 are not rounding, and so is mpn_cov.
ARMS = (
    # Covariance against average pooling, and the approximate root against the exact one with its exact gradient.
    Arm("meta_layer=gap", 2, quick=True),
    Arm("meta_layer=isqrt_cov", 6, quick=True),
    Arm("meta_layer=svd_lyapunov", 5, quick=True),
    # Precision: the same layer in float32 with and without its null space, and after a swap.
    Arm(f"meta_layer=mpn_cov {FLOAT32} {DENSE}", 11, quick=True),
    Arm(f"meta_layer=mpn_cov {FLOAT32} meta_layer.route=gram", 5, quick=True),
    Arm(f"meta_layer=mpn_cov {FLOAT32} {DENSE} {HYBRID}", 8, quick=True),
    Arm(f"meta_layer=svd_pade {FLOAT32} {DENSE}", 1),
    # Table 2: the remedies as published, standalone and hybrid.
    *(Arm(f"meta_layer={name} {DENSE}", seconds) for name, seconds in (("mpn_cov", 18), ("svd_pade", 20), ("svd_taylor", 18))),
    *(Arm(f"meta_layer={name} {DENSE}", seconds) for name, seconds in (("svd_newton", 16), ("svd_trunc", 18))),
    *(Arm(f"meta_layer={name} {DENSE} {HYBRID}", 9) for name in ("mpn_cov", "svd_pade", "svd_taylor", "svd_newton", "svd_trunc")),
    # Fewer steps of the iteration, and the published power iteration.
    Arm("meta_layer=isqrt_cov meta_layer.num_iterations=2", 6),
    Arm(f"meta_layer=svd_power_iteration meta_layer.deflate=false {DENSE}", 17),
    # AlexNet's head in small.
    Arm(f"meta_layer=isqrt_cov {ALEXNET_HEAD}", 9),
    Arm(f"meta_layer=svd_lyapunov {ALEXNET_HEAD}", 8),
)


@dataclass(frozen=True)
class Plan:
    """One run: an arm with a seed, which decides initialisation, order and training images."""

    arm: Arm
    seed: int

    @property
    def overrides(self) -> list[str]:
        return [f"experiment={EXPERIMENT}", *self.arm.overrides.split(), f"seed={self.seed}"]

    def __str__(self) -> str:
        return f"{self.arm.overrides.replace('meta_layer.', '').replace(HYBRID, 'hybrid')} seed={self.seed}"


def plans(quick: bool) -> list[Plan]:
    """All runs; seeds side by side, so that the first hybrid arm trains the initial stages and the others go on from there."""
    return [Plan(arm, seed) for arm in ARMS if arm.quick or not quick for seed in range(SEEDS)]


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


class Countdown:
    """One line a finished run, with what is left: legible in a terminal, a log and under make alike."""

    def __init__(self, planned: list[Plan]) -> None:
        self.console = Console()
        self.planned, self.done, self.start = planned, 0, time.monotonic()
        self.left = sum(plan.arm.seconds for plan in planned)
        self.spent = 0.0

    def finished(self, plan: Plan, result: dict[str, Any]) -> None:
        self.done += 1
        self.left -= plan.arm.seconds
        self.spent += plan.arm.seconds
        elapsed = time.monotonic() - self.start
        outcome = "diverged" if result["status"] == "diverged" else f"error {result['final_top1_error']:5.2f} %"
        remaining = duration(elapsed / self.spent * self.left)
        self.console.print(
            f"[{self.done:3d}/{len(self.planned)}] {outcome} | {plan} | {duration(elapsed)} gone, about {remaining} left",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="gcp-reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="what shows most, with all seeds: two to three minutes on two cores")
    parser.add_argument(
        "--jobs", type=int, default=max(1, min(4, os.cpu_count() or 1)), help="worker processes (default: cores, at most 4)"
    )
    parser.add_argument("--runs-dir", type=Path, default="runs", help="where runs are kept (default: %(default)s)")
    parser.add_argument("--report", type=Path, default="reports/index.html", help="the page to write (default: %(default)s)")
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    options = build_parser().parse_args(arguments)
    with explained("gcp-reproduce"):
        _check(options)
        _train_all(plans(options.quick), options.jobs, str(options.runs_dir))
    tables([str(options.runs_dir), "--output", str(options.report)])
    print(f"\nThe report: {options.report.resolve()}")


def _check(options: argparse.Namespace) -> None:
    """Refuse what would end the command later, the page's place after all runs."""
    check_option("gcp-reproduce", "--jobs", options.jobs, Annotated[int, AtLeast(1)])
    if options.report.is_dir():
        raise OptionError(f"--report needs a file; got the folder '{options.report}': add a name, as in index.html")
    for option, folder in (("--runs-dir", options.runs_dir), ("--report", options.report.parent)):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OptionError(f"{option} needs a folder; got '{folder}' ({error.strerror}): choose another place") from None


def _train_all(planned: list[Plan], jobs: int, runs_dir: str) -> None:
    countdown = Countdown(planned)
    print(f"{len(planned)} runs with {jobs} workers; finished ones are skipped, interrupted ones resumed", flush=True)
    os.environ["OMP_NUM_THREADS"] = "1"  # inherited by the workers
    with joblib.Parallel(n_jobs=jobs, return_as="generator_unordered", batch_size=1, pre_dispatch="all") as parallel:
        for plan, result in parallel(joblib.delayed(run)(plan, runs_dir) for plan in planned):
            countdown.finished(plan, result)


if __name__ == "__main__":
    main()
