"""`gcp-train`: train one configuration, or with `-m` a sweep of them."""

from __future__ import annotations

import sys
from typing import Any

import hydra
from omegaconf import DictConfig

from gcp_repro.cli.messages import CONFIG_MODULE, run_command
from gcp_repro.cli.paths import with_plain_paths
from gcp_repro.runs import register_resolvers, run_directory
from gcp_repro.runs.outcome import exit_code_of, recorded_result, summary
from gcp_repro.training.layer_configs import store_layer_configs

__all__ = ["main"]

register_resolvers()


def run_job(config: DictConfig) -> float | None:
    """Train one configuration; returns the final top-1 error, which a sweeper may minimise."""
    from gcp_repro.training.processes.console import hush, in_parallel_worker, in_sweep, stop_with_parent, tell

    if config.replay is not None:
        _replay(config)
        return None
    if in_parallel_worker():
        hush()
        stop_with_parent()
    run = run_directory(config)
    result = recorded_result(run)  # before torch and Lightning are imported
    if result is None:
        result = _train(config)
    else:
        tell("already %s, skipped: %s", result["status"], summary(result, run))
    if not in_sweep() and exit_code_of(result):
        raise SystemExit(exit_code_of(result))
    error: float | None = result["final_top1_error"]
    return error


def _train(config: DictConfig) -> dict[str, Any]:
    from gcp_repro.training.loop.stopping import TrainingInterrupted
    from gcp_repro.training.run import train

    try:
        result: dict[str, Any] = train(config)["result"]
    except TrainingInterrupted as interruption:
        print(interruption)
        raise SystemExit(interruption.exit_code) from None
    return result


def _replay(config: DictConfig) -> None:
    from gcp_repro.training.replay import replay

    print(replay(config))


def main() -> None:
    """Entry point."""
    sys.argv[1:] = with_plain_paths(sys.argv[1:], ("replay",))
    store_layer_configs()
    run_command(hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name="train")(run_job), "train")


if __name__ == "__main__":
    main()
