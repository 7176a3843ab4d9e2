"""Write a tiny data set in the layout of a real one, to try a configuration or to test other software.

    python scripts/make_tiny_dataset.py birds /tmp/data/CUB_200_2011
    gcp-train experiment=resnet50_birds data.root=/tmp/data data.allow_partial=true

(`gcp-train experiment=resnet50_birds debug=tiny` does the same without a folder of your own.)
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from gcp_repro.data.tiny import TINY, Tiny, write_tiny
from gcp_repro.errors import GCPError


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", help=", ".join(TINY))
    parser.add_argument("folder", type=Path, help="empty or not there yet")
    parser.add_argument("--classes", type=int, default=Tiny.classes)
    parser.add_argument("--train", type=int, default=Tiny.train, help="training images a class")
    parser.add_argument("--val", type=int, default=Tiny.val, help="evaluation images a class")
    parser.add_argument("--size", type=int, nargs=2, default=Tiny.size, metavar=("WIDTH", "HEIGHT"))
    options = parser.parse_args(arguments)
    try:
        print(write_tiny(options.name, options.folder, Tiny(options.classes, options.train, options.val, tuple(options.size))))
    except GCPError as error:
        sys.exit(f"make_tiny_dataset: {error}")


if __name__ == "__main__":
    main()
