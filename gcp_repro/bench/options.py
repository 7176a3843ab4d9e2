"""Options that `gcp-bench layers` and `gcp-bench tune` share: features' sizes and precisions, rounds, threads, the device."""

from __future__ import annotations

import argparse

import torch

from gcp_repro.bench.cases import DTYPES, NAMED_SHAPES
from gcp_repro.errors import OptionError

__all__ = ["add_shared_arguments", "checked_device"]


def add_shared_arguments(parser: argparse.ArgumentParser, *, device: str) -> None:
    """Add them.

    Args:
        parser: Of the subcommand.
        device: The default.
    """
    parser.add_argument("--device", choices=("cpu", "cuda"), default=device)
    parser.add_argument(
        "--shapes",
        nargs="+",
        metavar="SHAPE",
        default=["paper"],
        help=f"{', '.join(NAMED_SHAPES)}, or BxCxHxW as in 128x256x13x13, or 128x2048to256x7x7 with a reduction of the channels",
    )
    parser.add_argument("--batch", type=int, help="takes the place of every shape's batch size")
    parser.add_argument("--dtypes", nargs="+", choices=tuple(DTYPES), default=list(DTYPES), help="of the spectral part")
    parser.add_argument("--repeats", type=int, default=5, help="rounds in which all take turns (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads(), help="that torch may use (default: %(default)s)")


def checked_device(command: str, options: argparse.Namespace) -> torch.device:
    """The device of the options, which can be measured on.

    Args:
        command: Its name, for messages.
        options: As parsed.

    Raises:
        OptionError: A number below 1, or CUDA where there is none.
    """
    if min(options.repeats, options.threads) < 1:
        raise OptionError(
            f"{command} needs at least 1 repeat and thread; got {options.repeats} and {options.threads}: raise them"
        )
    if options.device == "cuda" and not torch.cuda.is_available():
        raise OptionError(f"--device cuda needs a CUDA device; torch {torch.__version__} finds none: use --device cpu")
    return torch.device(options.device)
