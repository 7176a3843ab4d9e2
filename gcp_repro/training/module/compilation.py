"""`compile=true`: torch.compile for a network, part by part.

Backbone, reduction, meta-layer and classifier become graphs of their own. Where the hybrid protocol exchanges the layer, the
others' graphs stay, and the new layer is compiled once. What hangs at a part stays outside of its graph: hooks that listen at the
layer's input, and those by which FSDP gathers weights.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from gcp_repro.errors import OptionError, UnknownNameError

__all__ = ["compile_options", "compile_part", "compile_parts", "explained_failures", "uncompiled"]

OPTIONS = ("backend", "mode", "dynamic", "fullgraph", "options")
"""Of `torch.compile`."""


def compile_options(choice: bool | Mapping[str, Any]) -> dict[str, Any] | None:
    """The arguments of `torch.compile` that a configuration's `compile` stands for; None for no compilation.

    Args:
        choice: True, false, or options of `torch.compile`, as `{mode: max-autotune}`.

    Raises:
        OptionError: It is none of these.
        UnknownNameError: An option that is not `torch.compile`'s, or a backend that torch does not know.
    """
    if choice is False or choice is None:
        return None
    if choice is True:
        return {}
    if not isinstance(choice, Mapping):
        raise OptionError(
            f"compile needs true, false or options of torch.compile; got {choice!r}: write compile=true, or compile={{mode: "
            "max-autotune}"
        )
    for name in choice:
        if name not in OPTIONS:
            raise UnknownNameError("option of compile", str(name), OPTIONS)
    if "backend" in choice:
        known = torch.compiler.list_backends(exclude_tags=())
        if choice["backend"] not in known:
            raise UnknownNameError("backend of compile", str(choice["backend"]), known)
    return dict(choice)


def compile_part(part: nn.Module, options: Mapping[str, Any] | None) -> None:
    """Let a module be compiled when it is first called, for good; its state dict stays as it is."""
    if options is not None and "forward" not in vars(part):
        part.forward = torch.compile(part.forward, **options)  # type: ignore[method-assign]


def compile_parts(network: nn.Module, options: Mapping[str, Any] | None) -> None:
    """The same for all that a network consists of, each by itself."""
    for part in network.children():
        if not isinstance(part, nn.Identity):
            compile_part(part, options)


def uncompiled() -> AbstractContextManager[Any]:
    """Within this, what has been compiled runs as it is written: for passes of other shapes and kinds than those of training."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def explained_failures(options: Mapping[str, Any] | None) -> Iterator[None]:
    """Say what to do where the machine cannot compile.

    Raises:
        OptionError: "compile=true needs a machine that torch.compile works on; ..."
    """
    if options is None:
        yield
        return
    from torch._dynamo.exc import BackendCompilerFailed

    try:
        yield
    except BackendCompilerFailed as error:
        inner = getattr(error, "inner_exception", error)
        reason = f"{type(inner).__name__}: {str(inner).strip().splitlines()[0]}"
        raise OptionError(
            f"compile=true needs a machine that torch.compile works on; got {reason}: install a C++ compiler (on Debian or "
            "Ubuntu, apt install g++), or set compile=false"
        ) from error
