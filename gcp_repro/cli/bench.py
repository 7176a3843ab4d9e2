"""`gcp-bench`: measurements, one subcommand each."""

from __future__ import annotations

from collections.abc import Sequence

from gcp_repro.bench import data, layers, train, tune
from gcp_repro.cli.subcommands import run_subcommand

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    run_subcommand("gcp-bench", __doc__, {"data": data, "layers": layers, "train": train, "tune": tune}, arguments)


if __name__ == "__main__":
    main()
