"""torch's exporters to ONNX, refused in words where they would fail, or write a wrong file without one."""

from __future__ import annotations

import sys

import torch

from gcp_repro.errors import OptionError

__all__ = ["refuse_legacy_exporter", "refuse_operators"]


def _is_exporting() -> bool:
    onnx = sys.modules.get("torch.onnx")  # torch imports it when it is used
    return onnx is not None and bool(onnx.is_in_onnx_export())


def refuse_legacy_exporter() -> None:
    """Refuse `torch.onnx.export(dynamo=False)`, which drops what it does not know and writes constants.

    Raises:
        OptionError: It is at work.
    """
    if not torch.compiler.is_dynamo_compiling() and _is_exporting() and torch.jit.is_tracing():  # type: ignore[attr-defined, no-untyped-call]
        raise OptionError(
            "a meta-layer cannot be written by torch.onnx.export(dynamo=False), which leaves out what it does not know; got such "
            "an export: use gcp_repro.export.to_onnx(model, path, example)"
        )


def refuse_operators() -> None:
    """Refuse any ONNX exporter at an operator of this package.

    Raises:
        OptionError: One is at work.
    """
    if _is_exporting():
        raise OptionError(
            "ONNX has none of the operators of gcp_repro; torch.onnx.export met one: use gcp_repro.export.to_onnx(model, path, "
            "example), which writes layers as matrix products where there is a way, or torch.export"
        )
