"""Compare layers with their authors' code, from your own clones, on the same features: values and gradients.

    python scripts/compare_layers.py [--riemgcp CLONE] [--dropcov CLONE] [--so-vit CLONE] [--isice CLONE] [--run CLONE]

CLONE is the top folder of github.com/GitZH-Chen/RiemGCP, mingzeG/DropCov, jiangtaoxie/So-ViT, csiro-robotics/iSICE and
AndreeaDogaru/BCNN-RUN (an independent implementation: the authors of RUN have published none). The code is imported from where it
lies and runs as it is, on the CPU: its calls of `.cuda()` do nothing here. docs/later_work.md has what this printed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gcp_repro.errors import DataError, GCPError
from gcp_repro.linalg import upper_triangle
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.metalayers.dropout import adaptive_rate

FEATURES = {"full rank": (4, 16, 12, 12), "rank 15 of 64": (4, 64, 4, 4)}
Function = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Comparison:
    """One function in both codes.

    Attributes:
        name: For the table.
        theirs: Of features `(B, C, H, W)`.
        ours: The same.
        dtype: Of the features: the one that their code computes in.
    """

    name: str
    theirs: Function
    ours: Function
    dtype: torch.dtype = torch.float32


def load(folder: Path, module: str) -> Any:
    """A module of a folder, without running its package's `__init__`.

    Raises:
        DataError: The folder has no such module, or it cannot be imported.
    """
    package = f"authors_{abs(hash(folder))}"
    sys.modules.setdefault(package, types.ModuleType(package)).__path__ = [str(folder)]  # type: ignore[attr-defined]
    sys.dont_write_bytecode = True
    try:
        return importlib.import_module(f"{package}.{module}")
    except (ImportError, SyntaxError) as error:
        raise DataError(
            f"a comparison needs a clone with {folder.name}/{module}.py; {folder} gave {type(error).__name__}: {error}: pass the "
            "top folder of an unchanged clone, and install what it imports"
        ) from error


def riemgcp(clone: Path) -> Iterator[Comparison]:
    """Scaled matrix powers by five Newton-Schulz steps, and log-Cholesky; computed in float64, rounded to float32."""
    folder = clone / "src" / "representation"
    powers, cholesky = load(folder, "MPNCOV"), load(folder, "LCMCOV")
    for mode, name, options in (
        ("PowEMLR", "isqrt_cov", {}), ("ScalePowEMLR", "scale_pow_emlr", {"num_iterations": 5}),
        ("PowTMLR", "pow_tmlr", {"num_iterations": 5}),
    ):  # fmt: skip
        yield Comparison(f"RiemGCP {mode}: {name}", _by_channels(partial(_power, powers, mode)), _layer(name, **options))
    yield Comparison("RiemGCP LCMCOV: log_cholesky", _by_channels(lambda c: cholesky.LCMCOV(input_dim=c)), _layer("log_cholesky"))


def _power(module: Any, mode: str, channels: int) -> nn.Module:
    layer: nn.Module = module.MPNCOV(iterNum=5, input_dim=channels, transformed_mode=mode)
    return layer


def dropcov(clone: Path) -> Iterator[Comparison]:
    """The covariance in evaluation, and the probability of the dropout in training."""
    cnns = clone / "CNNs"
    covariance = load(cnns / "representation", "covariance")
    yield Comparison(
        "DropCov: dropcov, in evaluation", lambda x: covariance.Triuvec.apply(covariance.Covariance()(x)), _layer("dropcov")
    )
    sys.path.insert(0, str(cnns))  # its modules name each other from there
    network = importlib.import_module("models.ResNet_ACD")
    yield Comparison(
        "DropCov: probability of dropping", partial(_their_rate, network, covariance), lambda x: adaptive_rate(x.flatten(2))
    )


def _their_rate(network: Any, covariance: Any, x: Tensor) -> Tensor:
    """What `balance_rate` gives to its dropout, with an importance by the convolution (0, 1, 0)."""
    seen: list[float] = []

    def dropout(rate: float) -> nn.Module:
        seen.append(rate)
        return nn.Identity()

    original, network.nn.Dropout2d = network.nn.Dropout2d, dropout
    try:
        importance = x.mean((-1, -2), keepdim=True).softmax(1)
        network.ResNet_ACD.balance_rate(types.SimpleNamespace(cov=covariance.Covariance()), x.detach(), importance.detach())
    finally:
        network.nn.Dropout2d = original
    return torch.tensor(seen)


def so_vit(clone: Path) -> Iterator[Comparison]:
    """Normalisations of the covariance of all channels, and of the cross-covariance of two halves.

    Their covariances take away one mean over all channels and positions of an image, and that of one set of channels has the
    number of channels for divisor instead of that of positions. So that the normalisations are compared, they get features of
    mean 0 in every channel and a covariance that is scaled back, but for the line that is about both.
    """
    source = clone / "sot_src"
    normalization, covariance = load(source / "normalization", "svPN"), load(source / "representation", "covariance")
    element, triangle = load(source / "normalization", "ePN").ePN(), normalization.Triuvec

    def as_given(x: Tensor) -> Tensor:
        moment: Tensor = covariance.Covariance()(x.flatten(2).mT)
        return moment

    def pooled(x: Tensor) -> Tensor:
        return as_given(x - x.mean((-1, -2), keepdim=True)) * x.shape[1] / x[0, 0].numel()

    def crossed(x: Tensor) -> Tensor:
        first, second = (x - x.mean((-1, -2), keepdim=True)).flatten(2).mT.chunk(2, -1)
        moment: Tensor = covariance.Covariance()(first, second)
        return moment

    yield Comparison(
        "So-ViT covariance of features with a mean: dropcov, in evaluation", _chain(as_given, triangle.apply), _layer("dropcov")
    )
    for steps, values in ((1, 1), (3, 2)):
        options = {"num_iterations": steps, "num_values": values}
        theirs = normalization.svPN(iterNum=steps, svNum=values, init_weight="one", vec="triu")
        full = normalization.svPN(iterNum=steps, svNum=values, init_weight="one", vec="full")
        yield Comparison(f"So-ViT svPN, {steps} steps, {values} values: svpn", _chain(pooled, theirs), _layer("svpn", **options))
        name = f"So-ViT svPN, {steps} steps, {values} values: cross_covariance"
        yield Comparison(name, _chain(crossed, full), _layer("cross_covariance", **options))
    yield Comparison("So-ViT ePN of the upper triangle: epn", _chain(pooled, triangle.apply, element), _layer("epn"))
    yield Comparison("So-ViT ePN of the matrix: epn", _chain(pooled, element, triangle.apply), _layer("epn"))


def isice(clone: Path) -> Iterator[Comparison]:
    """The sparse inverse, in the two precisions that the code can be given."""
    module = load(clone / "src" / "representation", "SICE")

    def build(channels: int) -> nn.Module:
        layer: nn.Module = module.SICE(iterNum=5, input_dim=channels, sparsity_val=0.01, sice_lrate=1.0)
        return layer

    for dtype in (torch.float64, torch.float32):
        yield Comparison(f"iSICE in {str(dtype).removeprefix('torch.')}: isice", _by_channels(build), _layer("isice"), dtype)


def run(clone: Path) -> Iterator[Comparison]:
    """The rank-1 update, with the random vector of our layer given to theirs; without the signed root."""
    module = load(clone / "source", "models")

    def theirs(x: Tensor) -> Tensor:
        vector = torch.from_numpy(np.random.default_rng((0, x.shape[1])).standard_normal((x.shape[1], 1))).to(x)
        original, torch.rand = torch.rand, lambda *size, **options: vector.expand(size[0], -1, -1)
        try:
            updated = module.RUN(2, 1.0)(x)
        finally:
            torch.rand = original
        moment = updated.mT @ updated / x[0, 0].numel()
        return upper_triangle(moment)

    yield Comparison("BCNN-RUN: rank1_update", theirs, _layer("rank1_update", signed_root=False))


def _layer(name: str, **options: Any) -> Function:
    return build_meta_layer(name, layout="nchw", **options).eval()


def _by_channels(build: Callable[[int], nn.Module]) -> Function:
    """A layer of theirs that is built for a number of channels, and gives `(B, D)` or `(B, D, 1)`."""
    return lambda x: build(x.shape[1])(x)


def _chain(*functions: Function) -> Function:
    def call(x: Tensor) -> Tensor:
        for function in functions:
            x = function(x)
        return x

    return call


def difference(comparison: Comparison, features: Tensor) -> tuple[float, float | None]:
    """Of the values, relative to the largest, and of the gradients of one random projection, in the norm; None without any."""
    found = []
    for function in (comparison.theirs, comparison.ours):
        x = features.clone().to(comparison.dtype).requires_grad_()
        value = function(x)
        value = value.flatten(1 if value.ndim > 1 else 0)
        gradient = None
        if value.requires_grad:
            weights = torch.randn(value.shape, generator=torch.Generator().manual_seed(1)).to(value.dtype)
            (gradient,) = torch.autograd.grad(value, x, weights)
        found.append((value.detach().double(), gradient))
    (theirs, their_gradient), (ours, our_gradient) = found
    of_value = ((theirs - ours).abs().max() / theirs.abs().max().clamp(min=1e-300)).item()
    if their_gradient is None or our_gradient is None:
        return of_value, None
    return of_value, ((their_gradient - our_gradient).double().norm() / their_gradient.double().norm()).item()


CODES: dict[str, Callable[[Path], Iterator[Comparison]]] = {
    "--riemgcp": riemgcp, "--dropcov": dropcov, "--so-vit": so_vit, "--isice": isice, "--run": run,
}  # fmt: skip
"""By the option that takes the clone."""


def rows(clones: dict[str, Path]) -> Iterator[str]:
    """Lines of a Markdown table."""
    kinds = [f"{what}, {kind}" for kind in FEATURES for what in ("value", "gradient")]
    yield f"| code and layer | {' | '.join(kinds)} |"
    yield f"| --- |{' --- |' * len(kinds)}"
    for code, clone in clones.items():
        for comparison in CODES[code](clone):
            cells = []
            for shape in FEATURES.values():
                features = torch.randn(*shape, generator=torch.Generator().manual_seed(0)).relu()
                cells += ["" if d is None else f"{d:.0e}" for d in difference(comparison, features)]
            yield f"| {comparison.name} | {' | '.join(cells)} |"


def main() -> int:
    """Entry point; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for code in CODES:
        parser.add_argument(code, type=Path, metavar="CLONE", dest=code)
    clones = {code: path for code, path in vars(parser.parse_args()).items() if path is not None}
    if not clones:
        parser.error(f"needs at least one clone: {', '.join(CODES)}")
    torch.Tensor.cuda = nn.Module.cuda = lambda self, *arguments, **options: self  # type: ignore[method-assign, assignment]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    try:
        for line in rows(clones):
            print(line, flush=True)
    except GCPError as error:
        print(f"compare_layers: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
