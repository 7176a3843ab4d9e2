"""What all meta-layers are: modules that turn features into one vector per image."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor, nn

from gcp_repro.errors import DataError, OptionError
from gcp_repro.linalg.feature_layout import as_positions
from gcp_repro.linalg.machinery.onnx_export import refuse_legacy_exporter
from gcp_repro.metalayers.distributed import pool_spread
from gcp_repro.metalayers.extra_state import EXTRA_STATE, WithExtraState

__all__ = ["MetaLayer"]

BYTES = 512
"""Of a layer's extra state: filled up with spaces to a multiple, as readers of distributed checkpoints want one size for all."""


class MetaLayer(WithExtraState, ABC):
    """Base class: features `(B, C, H, W)` or `(B, C, N)` to `(B, output_dim(C))`, in the dtype of the features.

    A layer's name and what it computes travel in the state dict, as torch's extra state of the module, so that weights that were
    trained with one layer are not loaded into a network with another without a word. It is a tensor of bytes, JSON, because
    much that handles state dicts takes tensors alone (safetensors, `torch.func.functional_call`, averages of weights). State
    dicts without it, as those of other packages, are loaded as they are.

    Attributes:
        name: That it was built by; its class's name if it was not built by name.
        options: That it was built with by name; None if it was not built by name.
        layout: Of the features it is called with, see `linalg.feature_layout.as_positions`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.name = type(self).__name__
        self.options: dict[str, Any] | None = None
        self.layout = "auto"

    @property
    def second_order(self) -> bool:
        """Whether it pools covariances or second moments."""
        return True

    @abstractmethod
    def output_dim(self, channels: int) -> int:
        """Length of the output vector for so many channels."""

    @abstractmethod
    def pool(self, features: Tensor) -> Tensor:
        """Pool `(B, C, N)` to `(B, D)`."""

    def forward(self, features: Tensor) -> Tensor:
        """Pool features.

        Raises:
            ShapeError: Not of the `layout`, not a floating dtype, or with `layout="auto"` a shape that could as well have its
                channels last.
            NonFiniteError: NaN or infinity in the features, if the layer decomposes a matrix and `on_nonfinite="raise"`.
        """
        if isinstance(features, torch.fx.Proxy):  # a graph of Python (torch.fx) calls the layer as a whole
            tracer = features.tracer
            node: Any = tracer.create_proxy("call_module", tracer.path_of_module(self), (features,), {})  # type: ignore[attr-defined]
            return node
        refuse_legacy_exporter()
        spread = pool_spread(self, features)
        return self.pool(as_positions(features, self.layout)) if spread is None else spread

    def __prepare_scriptable__(self) -> NoReturn:
        """Refuse `torch.jit.script`, which asks this of every module.

        Raises:
            OptionError: Always.
        """
        raise OptionError(
            f"torch.jit.script compiles the source of modules, and that of a meta-layer is more than it knows; got {self.name}: "
            "use torch.jit.trace, whose graph has the layer as one operator, or torch.export"
        )

    def in_plain_torch(self, features: Tensor) -> nn.Module:
        """The same function of such features, any number of them, by torch's own operators: for programs that know no others.

        Raises:
            OptionError: The layer needs an operator of this package.
        """
        return self

    def computes(self) -> Mapping[str, Any]:
        """The options that decide what a trained network gets from the layer, as plain values; not how it is computed."""
        return {}

    @property
    def kind(self) -> str:
        """What gives `computes` its meaning: the class."""
        return type(self).__name__

    @property
    def statistic(self) -> str:
        """What is known of the features: classifiers can go on from a layer to another of the same statistic and length."""
        return type(self).__name__

    def can_follow(self, other: MetaLayer) -> bool:
        """Whether a classifier trained on the other layer can go on with this one: both stand for the same function."""
        return self.statistic == other.statistic and self.output_dim(4) == other.output_dim(4)

    def get_extra_state(self) -> Tensor:
        """Name and options; see the class."""
        text = json.dumps(self._identity()).encode()
        return torch.tensor(list(text.ljust(-(-len(text) // BYTES) * BYTES)), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """Check that the weights were trained with this layer.

        Raises:
            DataError: They were not.
        """
        trained, own = _read(state), self._identity()
        if (trained["class"], trained["computes"]) != (own["class"], own["computes"]):
            raise DataError(
                f"weights need the layer that they were trained with, {_in_words(trained)}; got {_in_words(own)}: build that, "
                f"or take the layer's entry, which ends in {EXTRA_STATE!r}, out of the state dict to use them with this one"
            )

    def _identity(self) -> dict[str, Any]:
        identity = {"name": self.name, "class": self.kind, "computes": dict(self.computes())}
        plain: dict[str, Any] = json.loads(json.dumps(identity, sort_keys=True))
        return plain


def _read(state: Tensor) -> dict[str, Any]:
    """The identity in an extra state; averages of weights may have made floating-point numbers of its bytes."""
    try:
        identity: dict[str, Any] = json.loads(bytes(state.to(torch.uint8).tolist()))
        return {"name": identity["name"], "class": identity["class"], "computes": identity["computes"]}
    except (AttributeError, TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"the entry of a layer that ends in {EXTRA_STATE!r} holds its name and options as bytes; got "
            f"{type(state).__name__} that cannot be read ({error}): take it out of the state dict to load the weights unchecked"
        ) from error


def _in_words(identity: dict[str, Any]) -> str:
    options = ", ".join(f"{name}={value}" for name, value in identity["computes"].items())
    return f"{identity['name']}({options})"
