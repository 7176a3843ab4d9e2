"""Question 1 of docs/study.md without training: the gradient's error by null-space dimension, trace, precision and layer.

    python -m scripts.study.gradient_error [--run RUN_DIRECTORY ...] [--output results/study/gradient_error.csv]

Each row is the relative error of a layer's gradient against that of the same layer in float64 on the gram route, which has no
null space, over images of the same features with a random upstream gradient. Features are rectified noise, and those of trained
networks where run directories are given. Beside the error stand the two terms of the law: the rounding of `eps ||R|| ||X||` and
the floor's `sqrt(eps / l)`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from gcp_repro.linalg.covariance import as_positions, center, symmetric_from_upper_triangle
from gcp_repro.linalg.pooling import operator_for
from gcp_repro.linalg.published import PublishedPooling
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.paper.analytic.null_space import gradient_of, norms, random_upstream, rectified_noise, trace_of, with_trace
from gcp_repro.runs.directory import RunDirectory
from gcp_repro.training.result import git_revision
from scripts.study.networks import data_of, network_of

TRAINED_IMAGES = 128  # enough for the tail
DTYPES = {"float64": torch.float64, "float32": torch.float32}
PAPER = ((256, 49), (256, 169), (256, 196))  # ResNet at 224, AlexNet, ResNet at 448
SIZES = ((32, 49), (48, 49), (56, 49), (64, 49), (80, 49), (96, 49), (128, 49), (192, 49), (128, 16), (128, 100), *PAPER)
TRACES = (1e-3, 1e-2, 1e-1, 1.0, 3.0, 10.0, 20.0, 30.0, 100.0, 300.0, 1e3, 1e4, 1e6)
TRACE = 100.0
LAYERS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("mpn_cov", {"route": "dense"}),
    ("mpn_cov", {"route": "gram"}),
    ("svd_pade", {"route": "dense"}),
    ("svd_taylor", {"route": "dense"}),
    ("svd_trunc", {"route": "dense"}),
    ("svd_trunc", {"route": "dense", "max_gradient": 1e6}),
    ("svd_trunc", {"route": "dense", "max_gradient": 1e4}),
    ("svd_trunc", {"route": "dense", "max_gradient": 1e2}),
    ("svd_lyapunov", {"route": "dense"}),
    ("svd_lyapunov", {"route": "gram"}),
    ("svd_newton", {"route": "dense"}),
    ("isqrt_cov", {"route": "dense"}),
    ("isqrt_cov", {"route": "gram"}),
)


def trained_features(run: RunDirectory) -> Tensor:
    """Input of the meta-layer, `(TRAINED_IMAGES, C, N)`, float64, for evaluation images of a finished run."""
    datamodule = data_of(run)
    network: Any = network_of(run, datamodule)
    batch = next(iter(datamodule.val_dataloader()))
    images, _ = datamodule.on_after_batch_transfer([part[:TRAINED_IMAGES] for part in batch], 0)
    with torch.no_grad():
        return as_positions(network.reduce(network.backbone(images))).double()


def rotated_gradient(operator: PublishedPooling, x: Tensor, upstream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`R`, `U` and the spectrum of the published order of operations, in the operator's dtype."""
    spectrum, u = operator._decompose(x)
    h = u.mT @ symmetric_from_upper_triangle(upstream, x.shape[1]) @ u
    return operator._rotated(h, spectrum), u, spectrum


def measure(features: Tensor, name: str, options: dict[str, Any], dtype: str) -> list[dict[str, Any]]:
    """Rows of one layer on one set of features: as it is, and with `R` made symmetric first where it has an `R`."""
    narrow = DTYPES[dtype]
    x, eps = features.to(narrow), torch.finfo(narrow).eps
    channels, positions = x.shape[1:]
    upstream = random_upstream(len(x), channels)
    layer = build_meta_layer(name, dtype=dtype, **options)
    exact = gradient_of(build_meta_layer(name, **options | {"route": "gram"}), x.double(), upstream)
    got = gradient_of(layer, x.double(), upstream)
    row: dict[str, Any] = {"layer": name, "dtype": dtype, **options, "order": "published"}
    operator = operator_for(layer.spec, channels)  # type: ignore[arg-type]
    if not isinstance(operator, PublishedPooling) or operator.rule.quotient is None:
        return [row | summary(norms(got - exact) / norms(exact))]
    rotated, u, spectrum = rotated_gradient(operator, x, upstream.to(narrow))
    centered = operator._times_centering(x)
    rounding = eps * norms(rotated.double()) * norms(centered.double()) / norms(exact) / channels**0.5
    possible = min(channels, positions - 1)
    noise = spectrum[:, : channels - possible]
    law = {
        "rounding_term": rounding.median().item(),
        "floor_term": (eps / spectrum[:, -possible:].double().clamp(min=eps)).mean(1).sqrt().median().item(),
        "noise_above_floor": (noise > eps).double().sum(1).mean().item(),
    }
    by_p = u @ (0.5 * (rotated + rotated.mT)) @ u.mT
    symmetric = (2 * by_p @ centered).double()
    return [
        row | summary(norms(got - exact) / norms(exact)) | law,
        row | {"order": "symmetric first"} | summary(norms(symmetric - exact) / norms(exact)),
    ]


def summary(errors: Tensor) -> dict[str, float]:
    """Quantiles over images."""
    shares = errors.new_tensor([0.1, 0.5, 0.9, 0.99])
    found = dict(zip(("error_10", "error_median", "error_90", "error_99"), errors.quantile(shares).tolist(), strict=True))
    return {"images": len(errors), **found, "error_max": errors.max().item()}


def cases(runs: list[RunDirectory]) -> Iterator[tuple[dict[str, Any], Tensor, bool]]:
    """Features with the columns that describe them, and whether all layers are measured on them."""
    for channels, positions in SIZES:
        yield {"features": "noise"}, with_trace(rectified_noise(channels, positions), TRACE), True
    for channels in (128, 256):
        for trace in TRACES:
            yield {"features": "noise"}, with_trace(rectified_noise(channels, 49), trace), False
    for run in runs:
        features = trained_features(run)
        yield {"features": f"trained: {run.path.name}"}, features, True
        for channels in sorted({32, 64, 96, 128, 192, 256, features.shape[1]}):
            if channels < features.shape[1]:
                yield {"features": f"trained: {run.path.name}"}, features[:, :channels], False


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", nargs="*", default=[], help="directories of finished runs whose features are measured too")
    parser.add_argument("--output", default="results/study/gradient_error.csv", help="csv file to write")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for about, features, all_layers in cases([RunDirectory(path) for path in arguments.run]):
        channels, positions = features.shape[1:]
        about |= {"channels": channels, "positions": positions, "null_dimension": max(0, channels - positions + 1)}
        about |= {"trace": trace_of(features).median().item()}
        ranks = torch.linalg.matrix_rank(center(features), rtol=1e-7).double()
        about |= {"rank": ranks.mean().item()}
        for name, options in LAYERS if all_layers else LAYERS[:1]:
            for dtype in DTYPES:
                rows += [about | row for row in measure(features, name, options, dtype)]
        print(about, flush=True)
    columns = ["features", "channels", "positions", "null_dimension", "rank", "trace", "layer", "route", "max_gradient", "dtype"]
    table = pd.DataFrame(rows).assign(git_revision=git_revision())
    table = table[columns + [name for name in table.columns if name not in columns]]
    Path(arguments.output).parent.mkdir(parents=True, exist_ok=True)
    table.to_csv(arguments.output, index=False, float_format="%.4g", lineterminator="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
