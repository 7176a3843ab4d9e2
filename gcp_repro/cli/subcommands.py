"""Commands with subcommands, a module each."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from types import ModuleType

from gcp_repro.cli.mistakes import explained

__all__ = ["run_subcommand"]


def run_subcommand(
    command: str, description: str | None, modules: Mapping[str, ModuleType], arguments: Sequence[str] | None
) -> None:
    """Parse a command line and run the module that its first word names; a user's mistake ends in one message.

    Args:
        command: Name of the console script.
        description: What `--help` begins with.
        modules: By subcommand; each has `add_arguments(parser)` and `run(options)`, and a docstring whose first line is its help.
        arguments: Of the command line; `None` for the process's own.
    """
    parser = argparse.ArgumentParser(prog=command, description=description)
    subcommands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in modules.items():
        first, _, rest = (module.__doc__ or "").partition("\n")
        subcommand = subcommands.add_parser(
            name, help=first, description=f"{first}\n{rest}", formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(subcommand)
        subcommand.set_defaults(run=module.run)
    options = parser.parse_args(arguments)
    with explained(command):
        options.run(options)
