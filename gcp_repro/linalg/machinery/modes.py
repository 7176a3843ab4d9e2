"""States of torch that the layers have to know: autocast, a backward that is under way, and modes that record operators."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor

__all__ = ["apart", "in_backward", "in_own_precision", "is_recorded", "is_traced", "outside_transforms", "recording"]


_WITH_AUTOCAST = frozenset(
    device for device in ("cpu", "cuda", "hpu", "mps", "xla", "xpu") if torch.amp.is_autocast_available(device)
)
"""Asked now: compilers before torch 2.12 cannot follow the question."""


def in_own_precision(x: Tensor) -> AbstractContextManager[Any]:
    """Products of matrices on the device of `x` in the precision of their dtype: without autocast, and on a GPU without TF32.

    `torch.set_float32_matmul_precision` allows TF32, which has three digits and is a setting of the whole process. Operators of
    torch that go into a compiled graph do as it says.
    """
    device = x.device.type
    plain = torch.autocast(device, enabled=False) if device in _WITH_AUTOCAST else nullcontext()
    rounds = device == "cuda" and not torch.compiler.is_compiling() and _tf32()
    return _without_tf32(plain) if rounds else plain


def _tf32() -> bool:
    return getattr(torch.backends.cuda.matmul, "fp32_precision", "ieee") == "tf32"  # torch 2.9 and later


@contextmanager
def _without_tf32(further: AbstractContextManager[Any]) -> Iterator[None]:
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    try:
        with further:
            yield
    finally:
        torch.backends.cuda.matmul.fp32_precision = "tf32"


def is_traced(x: Tensor) -> bool:
    """Whether operators of torch on `x` go into a graph, where autograd functions have no place."""
    return torch.compiler.is_compiling() or torch._is_functional_tensor(x) or torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]


def is_recorded() -> bool:
    """Whether a CUDA graph records what this thread does; without a driver nothing does, and the question itself would fail."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()  # type: ignore[no-untyped-call]


@contextmanager
def apart() -> Iterator[None]:
    """Apart from inference mode, the transforms of `torch.func` and `torch.jit.trace`: what is made here is a plain tensor."""
    tracing = torch._C._get_tracing_state()
    torch._C._set_tracing_state(None)  # type: ignore[attr-defined]
    try:
        with torch.inference_mode(False), torch._C._DisableFuncTorch():
            yield
    finally:
        torch._C._set_tracing_state(tracing)  # type: ignore[attr-defined]


def outside_transforms() -> AbstractContextManager[Any]:
    """The transforms of `torch.func` switched off, which let no function change a tensor that is not its argument."""
    return nullcontext() if torch.compiler.is_compiling() else torch._C._DisableFuncTorch()


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
