"""States of torch that the layers have to know: autocast, a backward that is under way, and modes that record operators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["in_backward", "is_traced", "recording", "without_autocast"]


_WITH_AUTOCAST = frozenset(
    device for device in ("cpu", "cuda", "hpu", "mps", "xla", "xpu") if torch.amp.is_autocast_available(device)
)
"""Asked now: compilers before torch 2.12 cannot follow the question."""


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """Autocast switched off for the device of `x`, if it has any there."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if device in _WITH_AUTOCAST else nullcontext()


def is_traced(x: Tensor) -> bool:
    """Whether operators of torch on `x` go into a graph, where autograd functions have no place."""
    return torch.compiler.is_compiling() or torch._is_functional_tensor(x)


def in_backward() -> bool:
    """Whether autograd runs a backward, which calls modules only to compute a forward again (`torch.utils.checkpoint`)."""
    return not torch.compiler.is_compiling() and torch._C._current_graph_task_id() != -1


@contextmanager
def recording() -> Iterator[None]:
    """Autograd switched on, also in a kernel that is called below it, as by a mode that watches operators (a flop counter)."""
    with torch._C._PreserveDispatchKeyGuard(), torch.enable_grad():
        for key in (torch._C.DispatchKey.AutogradFunctionality, torch._C.DispatchKey.ADInplaceOrView):
            torch._C._dispatch_tls_set_dispatch_key_excluded(key, False)
        yield
