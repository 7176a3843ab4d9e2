"""What `gcp-bench layers` measures: shapes, candidates, and the modules that they stand for."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from gcp_repro.bench.limit import Limit
from gcp_repro.bench.peer import Peer
from gcp_repro.bench.timing import CLOCKS, Trial
from gcp_repro.errors import OptionError
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from gcp_repro.models.reduction import channel_reduction

__all__ = ["NAMED_SHAPES", "Case", "Inputs", "Shape", "list_cases", "parse_shapes"]

DTYPES = {  # of the decomposition, and of the products that have no part in it
    "float64": (torch.float64, torch.float64),
    "float32": (torch.float32, torch.float32),
    "mixed": (torch.float64, torch.float32),
}
ACCURACIES = ("standard", "high")


@dataclass(frozen=True)
class Shape:
    """Features that enter, written `128x256x13x13`, or `128x2048to256x7x7` with a reduction of the channels in front.

    Args:
        batch: Images.
        channels: Channels that the layer gets.
        height: Rows of positions.
        width: Columns of positions.
        reduced_from: Channels before a 1x1 convolution, batch norm and ReLU, which then are part of what is measured.
    """

    batch: int
    channels: int
    height: int
    width: int
    reduced_from: int | None = None

    def __str__(self) -> str:
        channels = self.channels if self.reduced_from is None else f"{self.reduced_from}to{self.channels}"
        return f"{self.batch}x{channels}x{self.height}x{self.width}"

    @classmethod
    def parse(cls, text: str) -> Shape:
        """Read the notation.

        Raises:
            OptionError: "a shape is written BxCxHxW, as in 128x256x13x13; got '256x13'"
        """
        match = re.fullmatch(r"([1-9]\d*)x(?:([1-9]\d*)to)?([1-9]\d*)x([1-9]\d*)x([1-9]\d*)", text)
        if match is None:
            raise OptionError(
                f"a shape is written BxCxHxW, as in 128x256x13x13, or 128x2048to256x7x7 with a reduction of the channels; "
                f"got {text!r}: mend it, or use one of {', '.join(NAMED_SHAPES)}"
            )
        batch, before, channels, height, width = match.groups()
        return cls(int(batch), int(channels), int(height), int(width), int(before) if before else None)


PAPER = tuple(map(Shape.parse, ("128x256x13x13", "128x256x7x7", "128x256x14x14")))
NAMED_SHAPES = {
    "paper": PAPER,  # AlexNet; ResNet at 224 and 448
    "all": (*PAPER, *map(Shape.parse, ("128x64x13x13", "128x512x13x13", "128x2048to256x7x7"))),
}


def parse_shapes(names: Sequence[str], batch: int | None) -> list[Shape]:
    """Shapes from `paper`, `all` and the notation, each once.

    Args:
        names: As on the command line.
        batch: Takes the place of every shape's batch size; None leaves it.

    Raises:
        OptionError: A shape that cannot be read, or a batch below 1.
    """
    if batch is not None and batch < 1:
        raise OptionError(f"--batch needs at least 1 image; got {batch}: raise it")
    shapes = [shape for name in names for shape in (NAMED_SHAPES.get(name) or [Shape.parse(name)])]
    return list(dict.fromkeys(shape if batch is None else replace(shape, batch=batch) for shape in shapes))


@dataclass(frozen=True)
class Case:
    """One candidate.

    Args:
        origin: `"gcp_repro"`, `"peer"` or `"limit"`.
        layer: Name in the registry, options after it if any ("svd_lyapunov:shrinkage=0.1,heads=2"); the peer's class name; or
            "limit".
        route: Empty where the layer has no such option.
        dtype: Of the spectral part; empty where the layer has no such option.
        accuracy: Likewise.
    """

    origin: str
    layer: str
    route: str = ""
    dtype: str = ""
    accuracy: str = ""

    def __str__(self) -> str:
        accuracy = "" if self.accuracy == "standard" else self.accuracy
        return " ".join(part for part in (self.origin, self.layer, self.route, self.dtype, accuracy) if part)

    @property
    def name(self) -> str:
        """The layer's, without options."""
        return self.layer.partition(":")[0]

    @property
    def options(self) -> dict[str, Any]:
        """Those of the layer.

        Raises:
            OptionError: "options of a layer are written NAME:OPTION=VALUE,...; got 'gap:heads'"
        """
        columns = {"route": self.route, "dtype": self.dtype, "accuracy": self.accuracy}
        further: dict[str, Any] = {}
        for text in filter(None, self.layer.partition(":")[2].split(",")):
            option, _, value = text.partition("=")
            if not (option and value) or option in columns:
                raise OptionError(
                    f"options of a layer are written NAME:OPTION=VALUE,... as in svd_lyapunov:shrinkage=0.1, other ones than "
                    f"{', '.join(columns)}, which --routes, --dtypes and --accuracies name; got {self.layer!r}: mend it"
                )
            further[option] = yaml.safe_load(value)
        return {name: value for name, value in columns.items() if value} | further

    @property
    def exists(self) -> bool:
        """Whether the layer has this combination of options."""
        try:
            build_meta_layer(self.name, **self.options)
        except OptionError:
            return False
        return True

    @property
    def limit(self) -> Case | None:
        """The limit that this layer's time is held against; None where it decomposes nothing."""
        return Case("limit", "limit", dtype=self.dtype) if self.origin == "gcp_repro" and self.dtype else None

    @property
    def references(self) -> list[Case]:
        """Candidates that do the same in another way.

        The peer's layers, which are float64 always, for `svd_lyapunov` our own Newton-Schulz iteration, and the layer itself in
        float64 where it is in mixed precision, or as it is by default where its accuracy is high.
        """
        if self.origin != "gcp_repro":
            return []
        own = [replace(self, layer="isqrt_cov")] if self.layer == "svd_lyapunov" else []
        if self.dtype == "mixed":
            own.append(replace(self, dtype="float64"))
        if self.accuracy == "high":
            own.append(replace(self, accuracy="standard"))
        if self.dtype != "float64" or self.accuracy == "high":
            return own
        peers = META_LAYERS[self.layer].peers if self.layer == self.name else ()  # which have no options
        return [Case("peer", name, dtype="float64") for name in peers] + own

    def build(self, features: Tensor, peer: Peer | None) -> nn.Module:
        """The module, for features `(B, C, H, W)`."""
        if self.origin == "limit":
            return Limit(features, *DTYPES[self.dtype])
        if self.origin == "peer":
            if peer is None:
                raise OptionError(f"{self} needs the peer's clone; none is open: pass --peer PATH")
            return peer.build(self.layer, features.shape[1])
        return build_meta_layer(self.name, **self.options)


def list_cases(
    layers: Sequence[str],
    routes: Sequence[str],
    dtypes: Sequence[str],
    accuracies: Sequence[str] = ("standard",),
    *,
    with_peer: bool,
) -> list[Case]:
    """All candidates of a run: the limits, our layers with the options they have, and the peer's that correspond to them."""
    ours = [
        Case("gcp_repro", layer, route, dtype, accuracy)
        for layer, defaults in ((layer, META_LAYERS.find(layer.partition(":")[0]).defaults) for layer in layers)
        for route in (routes if "route" in defaults else [""])
        for dtype in (dtypes if "dtype" in defaults else [""])
        for accuracy in (accuracies if "accuracy" in defaults else [""])
    ]
    ours = [case for case in ours if case.exists]
    limits = [case.limit for case in ours if case.limit is not None]
    peers = [case for ours_one in ours for case in ours_one.references if case.origin == "peer" and with_peer]
    return list(dict.fromkeys((*limits, *ours, *peers)))


class Inputs:
    """Features and upstream gradients of one shape, the same for all candidates.

    The features are those of a network after its last ReLU: the positive part of normal numbers, float32.

    Args:
        shape: Their shape.
        device: Where they lie.
        clock: One of `CLOCKS`, for trials.
    """

    def __init__(self, shape: Shape, device: torch.device, clock: str = "wall") -> None:
        self.device, self.clock = device, clock
        self._generator = torch.Generator().manual_seed(0)
        self.features = self._normal((shape.batch, shape.reduced_from or shape.channels, shape.height, shape.width)).relu()
        self.reduce: nn.Module = nn.Identity()
        if shape.reduced_from is not None:
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                self.reduce = channel_reduction(shape.reduced_from, shape.channels).to(device)
        with torch.no_grad():
            self.reduced = self.reduce(self.features)
        self._upstream: dict[torch.Size, Tensor] = {}

    def _normal(self, size: Sequence[int]) -> Tensor:
        return torch.randn(*size, generator=self._generator).to(self.device)

    def upstream(self, size: torch.Size) -> Tensor:
        """A gradient of the loss with respect to outputs of this size, made once."""
        if size not in self._upstream:
            self._upstream[size] = self._normal(size)
        return self._upstream[size]

    def trial(self, case: Case, peer: Peer | None) -> Trial:
        """The candidate on these features, run once to warm up."""
        return Trial(nn.Sequential(self.reduce, case.build(self.reduced, peer)), self.features, self.upstream, CLOCKS[self.clock])
