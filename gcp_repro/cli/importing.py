"""`gcp-import`: published checkpoints in, runs of ours out; with `--export` the other way."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from gcp_repro.cli.messages import CONFIGURATION_ERRORS, describe
from gcp_repro.cli.mistakes import explained
from gcp_repro.weights import ARCHITECTURES, ARITHMETICS, ConvertedWeights, export_weights, import_weights

__all__ = ["main"]


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="gcp-import",
        description="Turn a checkpoint of DifferentiableSVD, fast-MPN-COV, RiemGCP or DropCov, or of a ResNet of torchvision or "
        "timm, into a run directory that gcp-eval scores. Reads weights only and runs no code from the file.",
    )
    parser.add_argument(
        "checkpoint", type=Path, help="file with a state dict; with --export a run directory or a checkpoint in it"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="KEY=VALUE",
        help="configuration, as gcp-train takes it: meta_layer.top_n=206 data=image_folder data.root=FOLDER",
    )
    parser.add_argument("--architecture", help=f"{', '.join(ARCHITECTURES)}; default: what the file says")
    parser.add_argument(
        "--meta-layer", default="isqrt_cov", help="layer that the weights were trained with (default: %(default)s)"
    )
    parser.add_argument("--num-classes", type=int, metavar="N", help="checked if given; default: the classifier's")
    parser.add_argument(
        "--arithmetic",
        choices=ARITHMETICS,
        default=ARITHMETICS[0],
        help="compute the layer as that code base does, to the last bit; auto (default) finds out which of them trained the "
        "weights; exact: the layers of this package",
    )
    parser.add_argument("--output", type=Path, required=True, help="run directory to write; with --export a file")
    parser.add_argument("--export", action="store_true", help="write a run's weights under the names of the code bases instead")
    parser.add_argument(
        "--layout", help="with --export: sequential (default), named (fast-MPN-COV's released ResNets) or finetuned"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point."""
    parser = build_parser()
    options = parser.parse_intermixed_args(arguments)
    with explained("gcp-import", partial(describe, config_name="train"), configuration=CONFIGURATION_ERRORS):
        print(_export(options, parser) if options.export else _import(options, parser))


def _import(options: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    if options.layout is not None:
        parser.error("--layout is for --export; an import finds it out")
    converted = import_weights(
        options.checkpoint,
        options.architecture,
        options.meta_layer,
        num_classes=options.num_classes,
        arithmetic=options.arithmetic,
        overrides=options.overrides,
    )
    converted.write_run(options.output)
    return f"{_account(converted)} -> {options.output}\nscore it: gcp-eval run={options.output}"


def _account(converted: ConvertedWeights) -> str:
    source = converted.source
    facts = [
        converted.architecture,
        converted.meta_layer,
        f"arithmetic {converted.arithmetic}",
        f"{converted.num_classes:,} classes",
        f"layout {converted.layout.name}",
    ]
    if source.epoch is not None:
        facts.append(f"{source.epoch} epochs")
    if source.best_top1_accuracy is not None:
        facts.append(f"its own record: {source.best_top1_accuracy:.2f} % top-1 accuracy")
    return f"{len(source.weights)} tensors ({', '.join(facts)})"


def _export(options: argparse.Namespace, parser: argparse.ArgumentParser) -> str:
    if options.architecture is None:
        parser.error("--export needs --architecture")
    weights = export_weights(options.checkpoint, options.architecture, options.output, options.layout)
    return f"{len(weights)} tensors -> {options.output}"


if __name__ == "__main__":
    main()
