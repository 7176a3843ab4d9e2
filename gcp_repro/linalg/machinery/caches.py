"""Tensors that are made once: kept between calls, unless they are of a kind that must not be, or constants of a graph."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch
from torch import Tensor

from gcp_repro.linalg.machinery.modes import apart

__all__ = ["constant_while_tracing", "keep_tensors"]

P = ParamSpec("P")
R = TypeVar("R")


def constant_while_tracing(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function whose results a compiler that traces may take as constants.

    That is `torch.compiler.assume_constant_result`, which would import the whole compiler, some seconds, with this package.
    """
    function._dynamo_marked_constant = True  # type: ignore[attr-defined]
    return function


def keep_tensors(maxsize: int) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function that makes tensors from hashable arguments, a device among them: its results are kept.

    Under a mode that replaces what torch makes (fake tensors, functional tensors) and under a compiler they are made anew:
    tensors of such a mode would be wrong later, and those from before it are wrong within it. What is kept can be used with
    gradients, also if it was made in inference mode or below a transform of `torch.func`, and is a constant of a graph that
    `torch.jit.trace` records, also if it is made meanwhile.

    Args:
        maxsize: How many results are kept.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.lru_cache(maxsize=maxsize)
        def kept(*args: P.args, **kwargs: P.kwargs) -> R:
            with apart():
                return function(*args, **kwargs)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            plain = not torch.compiler.is_compiling() and type(torch.empty(0)) is Tensor
            return kept(*args, **kwargs) if plain else function(*args, **kwargs)  # type: ignore[arg-type]

        return call

    return decorate
