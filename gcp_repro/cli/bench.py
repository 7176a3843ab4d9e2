"""`gcp-bench`: measurements, one subcommand each."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from gcp_repro.bench import data, layers, tune
from gcp_repro.errors import GCPError

__all__ = ["main"]

BENCHMARKS = {"data": data, "layers": layers, "tune": tune}
"""Modules with `add_arguments(parser)` and `run(options)`; the first line of their docstring is the help text."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="gcp-bench", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="BENCHMARK")
    for name, module in BENCHMARKS.items():
        command = commands.add_parser(name, help=(module.__doc__ or "").splitlines()[0])
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except GCPError as error:
        sys.exit(f"gcp-bench: {error}")


if __name__ == "__main__":
    main()
