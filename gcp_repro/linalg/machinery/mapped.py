"""The rule for `torch.func.vmap` of everything that works on a batch: its dimension becomes part of the batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

__all__ = ["call_mapped"]


def call_mapped(function: Callable[..., Any], size: int, in_dims: Sequence[Any], arguments: Sequence[Any]) -> tuple[Any, Any]:
    """Call a function of batches for all items of a further dimension at once.

    Args:
        function: Of tensors, lists of them and other values, to a tensor, or a list or tuple of them; the batch comes first.
        size: Of the further dimension.
        in_dims: Where each argument has it; None where it has none.
        arguments: With that dimension.

    Returns:
        What the function returns, with that dimension first, and in the same form the number 0 that says so.
    """

    def merged(value: Any, dim: Any) -> Any:
        if isinstance(value, list | tuple):
            return [merged(part, part_dim) for part, part_dim in zip(value, dim, strict=True)]
        if not isinstance(value, Tensor):
            return value
        return (value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)).flatten(0, 1)

    def apart(part: Tensor) -> Tensor:
        return part.reshape(size, part.shape[0] // size, *part.shape[1:])  # -1 is not known where a size is 0

    result = function(*(merged(value, dim) for value, dim in zip(arguments, in_dims, strict=True)))
    if isinstance(result, Tensor):
        return apart(result), 0
    return type(result)(map(apart, result)), type(result)(0 for _ in result)
