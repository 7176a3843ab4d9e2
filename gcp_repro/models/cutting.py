"""Networks of other libraries, cut where their pooling begins."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gcp_repro.errors import OptionError
from gcp_repro.linalg.feature_layout import find_layout
from gcp_repro.models.feature_format import FeatureFormat

__all__ = ["CutNetwork", "meta_copy"]

NORMS_AFTER_POOLING = ("fc_norm", "head.norm", "classifier.0", "layernorm", "pooler.layernorm")
"""Where ConvNeXts, and transformers that average their tokens, keep the layer norm between pooling and classifier."""


class CutNetwork(nn.Module):
    """A network up to its features, without what followed: pooling, classifier, and every module that no feature depends on.

    A layer norm between pooling and classifier moves in front of the pooling, with its weights.

    Args:
        network: Taken over: its head is gone afterwards. All other weights are the same tensors as before.
        name: For result files.
        input_size: `(channels, height, width)` of images that it takes. A copy without weights is run on such an image, to
            learn the form of its features and what they depend on.
        num_features: Channels of its features; None reads them from the second dimension of maps and the last one of tokens.
        whole: Where the layer norm is looked for; None is `network`.
        recipes: What `build_backbone` may make the same network from; compared with it before one is relied on.

    Attributes:
        network: Images to features.
        norm: The layer norm that was moved, or None.
        num_features: Channels.
        layout: Of the features, `"nchw"`, `"nhwc"` or `"tokens"`.
        num_prefix_tokens: Class tokens and registers in front of the tokens of the image.
        num_class_tokens: How many of them are class tokens.

    Raises:
        OptionError: The copy cannot be run on such an image.
        ShapeError: The features are not one tensor of maps or tokens, or hold no position of the image.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        name: str,
        input_size: tuple[int, ...],
        num_features: int | None = None,
        whole: nn.Module | None = None,
        recipes: Sequence[dict[str, Any]] = (),
    ) -> None:
        super().__init__()
        self.name, self.network, self.recipes = name, network, tuple(recipes)
        self.norm: nn.LayerNorm | None = None
        features, used = self._dry_run(input_size)
        shape = tuple(features.shape) if isinstance(features, Tensor) else ()
        self.num_features, self.layout = num_features or (shape[1 if len(shape) == 4 else -1] if shape else 0), "tokens"
        if len(shape) == 4:
            self.layout = self.declared_layout() or find_layout(shape, self.num_features, name)
        self.num_prefix_tokens, self.num_class_tokens = self.count_tokens() if self.layout == "tokens" else (0, 0)
        FeatureFormat.of(self).split(features)
        self.norm = _norm_after_pooling(whole or network, self.num_features, used)
        _drop_unused(network, used)

    def features(self, images: Tensor) -> Any:
        """Features of images, as the library makes them."""
        return self.network(images)

    def count_tokens(self) -> tuple[int, int]:
        """Tokens in front of those of the image, and how many of them are class tokens."""
        return count_prefix_tokens(self.network)

    def declared_layout(self) -> str | None:
        """The layout of the features, if the network says it."""
        return None

    def forward_features(self, images: Tensor) -> Tensor:
        """Features of images `(B, channels, H, W)`, as the library makes them."""
        features: Tensor = self.features(images)
        return features

    def normalise(self, features: Tensor) -> Tensor:
        """The layer norm that was moved in front of the pooling; without one the features as they are."""
        if self.norm is None:
            return features
        if self.layout == "nchw":
            return self.norm(features.movedim(1, -1)).movedim(-1, 1)  # type: ignore[no-any-return]
        normalised: Tensor = self.norm(features)
        return normalised

    def forward(self, images: Tensor) -> Tensor:
        """Features to pool, `(B, num_features, h, w)` or in another `layout`, of images `(B, channels, H, W)`."""
        return self.normalise(self.forward_features(images))

    def _dry_run(self, input_size: tuple[int, ...]) -> tuple[Any, set[str]]:
        """Features of one image on the meta device, and the names of the network's parameters that they depend on."""
        copied = meta_copy(self).eval().requires_grad_()
        try:
            with torch.enable_grad():
                features = copied.features(torch.empty(1, *input_size, device="meta"))
                parts = features if isinstance(features, (list, tuple)) else [features]
                named = dict(copied.network.named_parameters())  # type: ignore[union-attr, operator]
                total = sum(part.sum() for part in parts)
                gradients = torch.autograd.grad(total, list(named.values()), allow_unused=True)
        except Exception as error:  # whatever the network has to say about the image
            raise OptionError(
                f"cutting a network needs an image that it takes; {self.name} on one of {'x'.join(map(str, input_size))} gave "
                f"{type(error).__name__}: {error}: pass another image_size, or a backbone of your own to GCPClassifier"
            ) from error
        return features, {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}


def meta_copy(module: nn.Module) -> Any:
    """A copy of `module` on the meta device; no memory is taken for its weights."""
    copies: dict[int, Any] = {}
    for parameter in module.parameters():
        copies[id(parameter)] = nn.Parameter(torch.empty_like(parameter, device="meta"), parameter.requires_grad)
    for buffer in module.buffers():
        copies[id(buffer)] = torch.empty_like(buffer, device="meta")
    return copy.deepcopy(module, copies)


CLASS_TOKENS = ("cls_token", "class_token", "class_embedding", "dist_token", "distillation_token")
REGISTERS = ("reg_token", "register_tokens")


def count_prefix_tokens(network: nn.Module) -> tuple[int, int]:
    """Learned tokens in front of those of the image, and how many of them are class tokens, by the names of parameters."""
    named = {name.rpartition(".")[2]: parameter for name, parameter in network.named_parameters()}
    classes, registers = (
        sum(named[name].shape[1] if named[name].ndim == 3 else 1 for name in names if name in named)
        for names in (CLASS_TOKENS, REGISTERS)
    )
    return classes + registers, classes


def _norm_after_pooling(network: nn.Module, channels: int, used: set[str]) -> nn.LayerNorm | None:
    """The layer norm that the pooled features went through, with the same tensors, as one of a position's channels."""
    modules = dict(network.named_modules())
    for name in NORMS_AFTER_POOLING:
        norm = modules.get(name)
        if isinstance(norm, nn.LayerNorm) and norm.normalized_shape == (channels,) and f"{name}.weight" not in used:
            moved = nn.LayerNorm(channels, norm.eps, device="meta")
            moved.weight, moved.bias = norm.weight, norm.bias
            return moved
    return None


def _drop_unused(module: nn.Module, used: set[str], prefix: str = "") -> None:
    """Put an identity in place of every module that has parameters, none of them used."""
    for name, child in list(module.named_children()):
        names = {f"{prefix}{name}.{parameter}" for parameter, _ in child.named_parameters()}
        if names and not names & used:
            setattr(module, name, nn.Identity())
        elif not names <= used:
            _drop_unused(child, used, f"{prefix}{name}.")
