"""`gcp-train`: train one configuration, or with `-m` a sweep of them."""

from __future__ import annotations

import sys
from typing import Any

import hydra
from omegaconf import DictConfig

from gcp_repro.cli.messages import CONFIG_MODULE, run_command
from gcp_repro.cli.paths import with_plain_paths
from gcp_repro.cli.sweep import with_account
from gcp_repro.cli.sweep_jobs import job_of_sweep
from gcp_repro.runs import register_resolvers, run_directory
from gcp_repro.runs.interruption import TrainingInterrupted
from gcp_repro.runs.outcome import exit_code_of, recorded_result, summary
from gcp_repro.runs.sweeps import JobRecord
from gcp_repro.training.layer_configs import store_layer_configs

__all__ = ["main"]

register_resolvers()


def run_job(config: DictConfig) -> float | None:
    """Train one configuration; returns the final top-1 error, which a sweeper may minimise."""
    from gcp_repro.training.processes.console import hush, in_parallel_worker, in_sweep, stop_with_parent

    if config.replay is not None:
        _replay(config)
        return None
    if in_parallel_worker():
        hush()
        stop_with_parent()
    try:
        with job_of_sweep(run_directory(config)) as job:
            result = _result(config, job)
    except TrainingInterrupted as interruption:
        if in_sweep():
            raise
        print(interruption)
        raise SystemExit(interruption.exit_code) from None
    if not in_sweep() and exit_code_of(result):
        raise SystemExit(exit_code_of(result))
    error: float | None = result["final_top1_error"]
    return error


def _result(config: DictConfig, job: JobRecord | None) -> dict[str, Any]:
    """Train, unless the run is over: that is told before torch and Lightning are imported."""
    run = run_directory(config)
    result = recorded_result(run)
    known = result is not None
    if result is None:
        from gcp_repro.training.run import train

        result = train(config)["result"]
    else:
        from gcp_repro.training.processes.console import tell

        tell("already %s, skipped: %s", result["status"], summary(result, run))
    if job is not None:
        job.ended(result, known=known)
    return result


def _replay(config: DictConfig) -> None:
    from gcp_repro.training.replay import replay

    print(replay(config))


def main() -> None:
    """Entry point."""
    sys.argv[1:] = with_plain_paths(sys.argv[1:], ("replay",))
    store_layer_configs()
    command = hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name="train")(run_job)
    run_command(with_account(command), "train")


if __name__ == "__main__":
    main()
