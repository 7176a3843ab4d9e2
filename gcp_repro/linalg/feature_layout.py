"""Where the channels of features are: maps with channels second or last, and tokens.

A tensor has only its shape to say what it is. A backbone knows more: how many channels it makes, and in which layout. The
functions here take whatever is known and never settle on an axis that the shape leaves open.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gcp_repro.errors import OptionError, ShapeError

__all__ = ["LAYOUTS", "as_maps", "as_positions", "check_layout", "find_layout", "require_dense"]

LAYOUTS = ("auto", "nchw", "nhwc", "tokens")
"""`nchw` is `(B, C, H, W)` or `(B, C, N)`, `nhwc` is `(B, H, W, C)`, `tokens` is `(B, N, C)`."""

DIMENSIONS = {"auto": (3, 4), "nchw": (3, 4), "nhwc": (4,), "tokens": (3,)}

EMBEDDING = 96
"""Smallest last size that is taken for a number of channels: embeddings are at least that wide, rows of a map hardly ever."""


def check_layout(layout: str) -> str:
    """`layout` itself.

    Raises:
        OptionError: Not in `LAYOUTS`.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"layout must be one of {', '.join(LAYOUTS)}; got {layout!r}: change layout")
    return layout


def as_positions(features: Tensor, layout: str = "auto") -> Tensor:
    """View features as `(B, C, N)`, one column a position.

    Args:
        features: Floating point, at least one channel and one position.
        layout: One of `LAYOUTS`. `"auto"` is `"nchw"`, unless the sizes look as much like channels last: then it refuses.

    Raises:
        ShapeError: Not a tensor, another number of dimensions, a size of 0, not a floating dtype, or with `"auto"` a shape that
            can be read in two ways.

    Example:
        >>> import torch
        >>> as_positions(torch.zeros(2, 64, 7, 7)).shape, as_positions(torch.zeros(2, 7, 7, 768), "nhwc").shape
        (torch.Size([2, 64, 49]), torch.Size([2, 768, 49]))
        >>> as_positions(torch.zeros(2, 196, 192), "tokens").shape
        torch.Size([2, 192, 196])
    """
    _check_features(features, layout)
    if layout == "auto":
        shape = tuple(map(_as_now, features.shape))
        if _could_be_channels_last(shape):
            raise ShapeError(_two_readings(shape))
    positions: Tensor = (features.movedim(-1, 1) if layout in ("nhwc", "tokens") else features).flatten(2)
    return positions


def as_maps(features: Tensor, channels: int, layout: str, maker: str = "the backbone") -> Tensor:
    """View features of so many channels as `(B, channels, H, W)`; positions without a map become `(B, channels, N, 1)`.

    Args:
        features: As `as_positions` takes them.
        channels: How many there must be.
        layout: Of the features. `"auto"` finds it by the number of channels, as `find_layout`.
        maker: Whose features they are, for messages.

    Raises:
        ShapeError: As `as_positions`, or the channels are not where the layout says.
    """
    _check_features(features, layout)
    layout = find_layout(tuple(features.shape), channels, maker) if layout == "auto" else layout
    axis = 1 if layout == "nchw" else -1
    if features.shape[axis] != channels:
        raise ShapeError(
            f"{maker} says {channels} channels in layout {layout!r}, dimension {axis}; its features are {tuple(features.shape)}, "
            f"{features.shape[axis]} there: correct its num_features or layout"
        )
    maps = features if layout == "nchw" else features.movedim(-1, 1)
    return maps if maps.ndim == 4 else maps.unsqueeze(-1)


def find_layout(shape: tuple[int, ...], channels: int, maker: str = "the backbone") -> str:
    """The layout of features whose number of channels is known.

    Maps with channels second are the documented form, so `(B, 64, 64, 64)` of 64 channels is one.

    Raises:
        ShapeError: No dimension has that size, or in `(B, n, n)` both.
    """
    if shape[1] == channels and (len(shape) == 4 or shape[-1] != channels):
        return "nchw"
    if shape[-1] == channels and shape[1] != channels:
        return "nhwc" if len(shape) == 4 else "tokens"
    raise ShapeError(
        f"features need the {channels} channels of {maker} second or last, not both; got {shape}, {shape[1]} second and "
        f"{shape[-1]} last: set its attribute layout to one of {', '.join(LAYOUTS[1:])}, or correct its num_features"
    )


def _check_features(features: object, layout: str) -> None:
    if not isinstance(features, Tensor):
        raise ShapeError(f"features must be a torch.Tensor; got {type(features).__name__}: convert them with torch.as_tensor")
    require_dense(features, "features")
    if features.ndim not in DIMENSIONS[check_layout(layout)] or 0 in features.shape[1:] or not features.is_floating_point():
        forms = {3: "(B, C, N)", 4: "(B, C, H, W)"} if layout in ("auto", "nchw") else {3: "(B, N, C)", 4: "(B, H, W, C)"}
        needed = " or ".join(forms[count] for count in reversed(DIMENSIONS[layout]))
        raise ShapeError(
            f"features must be floating point, {needed} with C and N at least 1; "
            f"got {features.dtype} {tuple(features.shape)}: keep the spatial dimensions and drop the backbone's own pooling"
        )


def require_dense(x: Tensor, what: str) -> None:
    """Refuse tensors that are not one block of numbers of at least 16 bits.

    Raises:
        ShapeError: A sparse, nested or quantised tensor, or one of another library's layout, or of 8-bit numbers.
    """
    if x.layout != torch.strided or x.is_nested or x.is_quantized or (x.is_floating_point() and x.dtype.itemsize < 2):
        kind = "nested" if x.is_nested else f"{x.dtype}, {x.layout}"
        raise ShapeError(
            f"{what} must be a dense tensor of float64, float32, bfloat16 or float16; got a {kind} one: make it dense (to_dense, "
            "dequantize, to(torch.float32)), and pool images of different sizes one by one"
        )


def _as_now(size: int) -> int:
    """A size that an exported graph leaves open as the example has it, which settles the layout for all others."""
    now: int = size.node.hint if type(size) is torch.SymInt else size  # type: ignore[comparison-overlap]
    return now


def _could_be_channels_last(shape: tuple[int, ...]) -> bool:
    """Whether the last size looks like channels, and the second and the rest do not look more like channels and positions.

    Maps are square as a rule, and channels come in multiples of 8. What is compared with is the documented reading, channels
    second. The last size is looked at first: where it is 1, nothing is asked of sizes that an exported graph leaves open.
    """
    second, last = shape[1], shape[-1]
    embedding = last >= EMBEDDING and last % 16 == 0
    if len(shape) == 4:
        return (embedding or (last % 8 == 0 and second == shape[2])) and shape[2] != last
    if not embedding:
        return False
    flattened_map = _is_square(last) and second % 8 == 0
    as_well_tokens = _is_square(second) and 64 <= second <= last
    return not flattened_map or as_well_tokens


def _is_square(number: int) -> bool:
    """`math.isqrt(number) ** 2 == number` in operations that a graph with open sizes has too; exact below 2^52."""
    return int(number**0.5 + 0.5) ** 2 == number


def _two_readings(shape: tuple[int, ...]) -> str:
    if len(shape) == 4:
        _, a, b, c = shape
        readings = f"{a} channels on a map of {b} x {c} (layout='nchw') or {c} channels on a map of {a} x {b} (layout='nhwc')"
    else:
        _, a, b = shape
        readings = f"{a} channels at {b} positions (layout='nchw') or {a} tokens of {b} channels (layout='tokens')"
    return f"features must say where their channels are; {shape} could be {readings}: build the layer with one of the two"
