"""`gcp-train`: train one configuration, or with `-m` a sweep of them."""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from gcp_repro.cli.messages import CONFIG_MODULE, run_command
from gcp_repro.training.rundir import register_resolvers

__all__ = ["main"]

register_resolvers()


def run_job(config: DictConfig) -> float | None:
    """Train one configuration; returns the final top-1 error, which a sweeper may minimise."""
    from gcp_repro.training.console import hush, in_parallel_worker, stop_with_parent
    from gcp_repro.training.interruption import TrainingInterrupted
    from gcp_repro.training.run import train

    if in_parallel_worker():
        hush()
        stop_with_parent()
    try:
        error: float | None = train(config)["result"]["final_top1_error"]
    except TrainingInterrupted as interruption:
        print(interruption)
        raise SystemExit(interruption.exit_code) from None
    return error


def main() -> None:
    """Entry point."""
    run_command(hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name="train")(run_job), "train")


if __name__ == "__main__":
    main()
