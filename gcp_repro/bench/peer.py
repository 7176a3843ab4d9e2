"""A user's own clone of DifferentiableSVD, imported from where it lies and run as it is, for comparison in the same run.

Its code calls `.cuda()` at import and in every forward, and its `MPNCOV` uses a name that it does not define, so it runs neither
on the CPU nor, in the case of `MPNCOV`, at all. Both are supplied from outside while `opened` is in effect, and taken back after
it. Nothing of the peer's code is part of this package.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import mpmath
import torch
from torch import Tensor, nn

from gcp_repro.errors import DataError, MissingPathError, UnknownNameError

__all__ = ["PEER_CLASSES", "Peer", "PeerLayer", "opened"]

PEER_CLASSES: dict[str, dict[str, Any]] = {
    "SVD_Pade": {},
    "SVD_Taylor": {},
    "SVD_Trunc": {},
    "SVD_TopN": {},
    "SVD_Newton": {"iterNum": 10},
    "SVD_Original": {},
    "MPNCOV": {"iterNum": 5},
}
"""Classes of the peer's `src.representation`, with the numbers of iterations that its training script passes."""

PACKAGE = "src"


class PeerLayer(nn.Module):
    """A layer of the peer with our interface: `(B, C, H, W)` to `(B, D)`.

    Args:
        layer: Returns `(B, D)` or `(B, D, 1)`.
    """

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, features: Tensor) -> Tensor:
        """Pool features."""
        pooled: Tensor = self.layer(features).flatten(1)
        return pooled


class Peer:
    """The classes of an opened clone.

    Args:
        module: Its `src.representation`.
    """

    def __init__(self, module: ModuleType) -> None:
        self.module = module

    def build(self, name: str, channels: int) -> PeerLayer:
        """One of its layers, for features of so many channels, without its own channel reduction.

        Raises:
            UnknownNameError: The clone has no such class.
        """
        if not hasattr(self.module, name):
            raise UnknownNameError("peer layer", name, (known for known in PEER_CLASSES if hasattr(self.module, known)))
        layer = getattr(self.module, name)(input_dim=channels, dimension_reduction=None, **PEER_CLASSES.get(name, {}))
        return PeerLayer(layer)


@contextmanager
def opened(path: Path, device: torch.device) -> Iterator[Peer]:
    """Import the clone at `path`; until the end of the block its layers run on `device`.

    In the block, `Tensor.cuda` and `Module.cuda` return what they are called on unless `device` is CUDA. Afterwards these
    methods, the modules that python has loaded, its search path, its writing of byte code (the clone is left as it is) and
    mpmath's precision are what they were before.

    Raises:
        DataError: No such clone, or it cannot be imported.
    """
    if not (path / PACKAGE / "representation").is_dir():
        raise MissingPathError(
            f"--peer needs a clone of DifferentiableSVD, with a folder {PACKAGE}/representation; {path} has none: "
            "clone the repository and pass its top folder"
        )
    with ExitStack() as stack:
        stack.enter_context(_python_state(path))
        if device.type != "cuda":
            stack.enter_context(_harmless_cuda())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                module = importlib.import_module(f"{PACKAGE}.representation")
                _supply_missing_name()
        except Exception as error:
            raise DataError(
                f"--peer needs a clone of DifferentiableSVD that can be imported; {path} gave "
                f"{type(error).__name__}: {error}: check out its main branch unchanged, and install what it imports"
            ) from error
        yield Peer(module)


def _supply_missing_name() -> None:
    """`MPNCOV.__init__` builds a `feature_scaling()` that its forward never calls."""
    module = importlib.import_module(f"{PACKAGE}.representation.MPNCOV")
    if not hasattr(module, "feature_scaling"):
        module.feature_scaling = nn.Identity  # type: ignore[attr-defined]


@contextmanager
def _harmless_cuda() -> Iterator[None]:
    def stay(self: Any, *arguments: Any, **options: Any) -> Any:
        return self

    originals = torch.Tensor.cuda, nn.Module.cuda
    torch.Tensor.cuda = stay  # type: ignore[method-assign]
    nn.Module.cuda = stay  # type: ignore[method-assign]
    try:
        yield
    finally:
        torch.Tensor.cuda, nn.Module.cuda = originals  # type: ignore[method-assign]


@contextmanager
def _python_state(path: Path) -> Iterator[None]:
    def of_peer() -> list[str]:
        return [name for name in sys.modules if name == PACKAGE or name.startswith(f"{PACKAGE}.")]

    others = {name: sys.modules.pop(name) for name in of_peer()}  # someone else's package may have the same name
    before = sys.dont_write_bytecode, mpmath.mp.dps, mpmath.mp.pretty
    entry = str(path.resolve())
    sys.path.insert(0, entry)
    sys.dont_write_bytecode = True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(entry)
        for name in of_peer():
            del sys.modules[name]
        sys.modules.update(others)
        sys.dont_write_bytecode, mpmath.mp.dps, mpmath.mp.pretty = before
