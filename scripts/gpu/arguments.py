"""What the scripts on a GPU are asked: on which device, and where results go."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch


def gpu_parser(module: str, description: str | None, output: str, help_of_output: str) -> argparse.ArgumentParser:
    """A parser with `--device` and `--output`, of a module that is run as `python -m`."""
    parser = argparse.ArgumentParser(
        f"python -m {module}", description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--output", type=Path, default=Path(output), help=f"{help_of_output} (default: %(default)s)")
    return parser


def checked_options(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options, on a device that is there."""
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error(f"a CUDA device is needed; torch {torch.__version__} finds none: pass --device cpu to try it")
    return options


def device_name(device: str) -> str:
    """Of the GPU, or "cpu"."""
    return torch.cuda.get_device_name() if device == "cuda" else device
