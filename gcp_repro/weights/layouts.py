"""How the published code bases name the tensors of their networks: one table of prefixes a layout, read in both directions.

DifferentiableSVD, RiemGCP and fast-MPN-COV cut a network into `features`, `representation` and `classifier`, where `features`
numbers the children of the original network. fast-MPN-COV's released ResNets and DropCov's keep the names of the original network
instead, as do torchvision and timm. RiemGCP keeps an identity matrix beside the weights, DropCov the weights of an attention
that only training uses.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gcp_repro.errors import UnknownNameError

__all__ = ["ARCHITECTURES", "Architecture", "Layout", "find_architecture"]


@dataclass(frozen=True)
class Layout:
    """Names of tensors in a file beside those of `GCPClassifier`.

    Args:
        name: For messages and for `--layout`.
        prefixes: Pairs (theirs, ours); what follows the prefix is the same.
        hidden_dims: Widths of the classifier's hidden layers where the layout decides them.
        ignored: Beginnings of the names of tensors that no score depends on.

    Example:
        >>> layout = Layout("named", (("fc.", "classifier.0."),))
        >>> layout.to_ours("fc.weight"), layout.to_theirs("classifier.0.bias"), layout.to_ours("conv1.weight")
        ('classifier.0.weight', 'fc.bias', None)
    """

    name: str
    prefixes: tuple[tuple[str, str], ...]
    hidden_dims: tuple[int, ...] | None = None
    ignored: tuple[str, ...] = ()

    def ignores(self, name: str) -> bool:
        """Whether a tensor of theirs needs no place."""
        return name.startswith(self.ignored)

    def to_ours(self, name: str) -> str | None:
        """Our name of their tensor; None if the layout has no such part."""
        return _replace_prefix(name, self.prefixes)

    def to_theirs(self, name: str) -> str | None:
        """Their name of our tensor; None if the layout has no such part."""
        return _replace_prefix(name, ((ours, theirs) for theirs, ours in self.prefixes))


def _replace_prefix(name: str, prefixes: Iterable[tuple[str, str]]) -> str | None:
    return next((after + name.removeprefix(before) for before, after in prefixes if name.startswith(before)), None)


@dataclass(frozen=True)
class Architecture:
    """A network of the published code bases as a configuration of ours.

    Args:
        model: A choice of `configs/model`.
        layouts: How files name its tensors; the first is the one that is written by default.
        overrides: What differs from that choice.
        hint: What to know when a file does not fit.
    """

    model: str
    layouts: tuple[Layout, ...]
    overrides: tuple[str, ...] = ()
    hint: str = ""


_STAGES = {"conv1": 0, "bn1": 1, "layer1": 4, "layer2": 5, "layer3": 6, "layer4": 7}
"""Parts of a ResNet and their places among its children (2 and 3 are ReLU and max-pooling)."""

_NUMBERED = tuple((f"features.{place}.", f"backbone.network.{part}.") for part, place in _STAGES.items())
_REDUCTION = (("representation.conv_dr_block.", "reduce."),)

_RESNET_LAYOUTS = (
    Layout("sequential", (*_NUMBERED, *_REDUCTION, ("classifier.", "classifier.0.")), ignored=("representation.I",)),
    Layout(
        "named",
        (
            *((f"{part}.", f"backbone.network.{part}.") for part in _STAGES),
            ("layer_reduce.", "reduce.0."),
            ("layer_reduce_bn.", "reduce.1."),
            ("fc.", "classifier.0."),
        ),
        ignored=("eca_layer.",),
    ),
    Layout(
        "finetuned", (*_NUMBERED, ("features.8.", "reduce.0."), ("features.9.", "reduce.1."), ("classifier.", "classifier.0."))
    ),
)
_ALEXNET_FEATURES = (("features.", "backbone.features."), *_REDUCTION)
_ALEXNET_LAYOUTS = (
    Layout("sequential", (*_ALEXNET_FEATURES, *((f"classifier.{place}.",) * 2 for place in (0, 2, 4)))),
    Layout(
        "finetuned", (*_ALEXNET_FEATURES, *((f"classifier.{kind}", f"classifier.0.{kind}") for kind in ("weight", "bias"))), ()
    ),
)


def _resnet(name: str, *overrides: str, hint: str = "") -> Architecture:
    return Architecture("resnet50", _RESNET_LAYOUTS, (f"model.backbone.name={name}", *overrides), hint)


ARCHITECTURES: dict[str, Architecture] = {
    "alexnet": Architecture(
        "alexnet_bn",
        _ALEXNET_LAYOUTS,
        hint="this is DifferentiableSVD's AlexNet, with batch norm; torchvision's and fast-MPN-COV's have none and do not fit",
    ),
    **{name: _resnet(name) for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")},
    **{f"mpncov{name}": _resnet(name, "model.backbone.last_stride=1") for name in ("resnet50", "resnet101")},
    **{
        f"{name}_ACD": _resnet(name, "model.backbone.last_stride=1", hint="this is DropCov's network, with --meta-layer dropcov")
        for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152")
    },
}
"""By the names of `--arch` in the code bases; `mpncovresnet50`, `mpncovresnet101` and DropCov's `_ACD` have stride 1 in the last
stage."""


def find_architecture(name: str) -> Architecture:
    """The architecture of a name.

    Raises:
        UnknownNameError: There is none; the code bases have more, whose weights this package does not read.
    """
    if name not in ARCHITECTURES:
        raise UnknownNameError("architecture", name, ARCHITECTURES)
    return ARCHITECTURES[name]
