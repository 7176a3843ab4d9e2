"""`gcp-eval`: score a checkpoint on the validation split of its run."""

from __future__ import annotations

import sys

import hydra
from omegaconf import DictConfig

from gcp_repro.cli.messages import CONFIG_MODULE, run_command
from gcp_repro.cli.paths import with_plain_paths

__all__ = ["main"]

PATHS = ("run", "checkpoint", "data.root", "predictions", "per_class", "confusion")


def score(config: DictConfig) -> None:
    """Print the metrics of the checkpoint that `config` names."""
    from gcp_repro.training.evaluate import evaluate, find_checkpoint
    from gcp_repro.training.record.predictions import PREDICTION_FILES

    checkpoint = find_checkpoint(config.run, config.checkpoint)
    files = {name: config[name] for name in PREDICTION_FILES}
    metrics = evaluate(checkpoint, accelerator=config.accelerator, data=config.data, files=files, trusted=config.trusted)
    print(f"{checkpoint}: " + ", ".join(f"{name} {value}" for name, value in metrics.items()))


def main() -> None:
    """Entry point."""
    sys.argv[1:] = with_plain_paths(sys.argv[1:], PATHS)
    run_command(hydra.main(version_base="1.3", config_path=f"pkg://{CONFIG_MODULE}", config_name="eval")(score), "eval")


if __name__ == "__main__":
    main()
