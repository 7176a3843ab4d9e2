"""Write a tiny data set in the layout of a real one, to try a configuration or to test other software.

    gcp-data tiny birds FOLDER/CUB_200_2011
    gcp-train experiment=resnet50_birds data.root=FOLDER data.allow_partial=true

(`gcp-train experiment=resnet50_birds debug=tiny` does the same without a folder of your own.)
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gcp_repro.data.tiny import TINY, Tiny, write_tiny

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `gcp-data tiny`."""
    parser.add_argument("name", help=", ".join(TINY))
    parser.add_argument("folder", type=Path, help="empty or not there yet")
    parser.add_argument("--classes", type=int, default=Tiny.classes)
    parser.add_argument("--train", type=int, default=Tiny.train, help="training images a class")
    parser.add_argument("--val", type=int, default=Tiny.val, help="evaluation images a class")
    parser.add_argument("--size", type=int, nargs=2, default=Tiny.size, metavar=("WIDTH", "HEIGHT"))


def run(options: argparse.Namespace) -> None:
    """Write it and print where it is."""
    print(write_tiny(options.name, options.folder, Tiny(options.classes, options.train, options.val, tuple(options.size))))
