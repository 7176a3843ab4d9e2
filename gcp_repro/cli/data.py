"""`gcp-data`: data sets on disk, prepared or made up."""

from __future__ import annotations

from collections.abc import Sequence

from gcp_repro.cli.subcommands import run_subcommand
from gcp_repro.data import prepare_imagenet
from gcp_repro.data.tiny import command as tiny

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    run_subcommand("gcp-data", __doc__, {"imagenet": prepare_imagenet, "tiny": tiny}, arguments)


if __name__ == "__main__":
    main()
