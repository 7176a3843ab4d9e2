"""Fitting the tensors of a file to a network, or saying at once everything that does not fit."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from gcp_repro.errors import DataError
from gcp_repro.weights.layouts import Architecture, Layout

__all__ = ["detect_layout", "fit", "rename"]

BATCHES = "num_batches_tracked"
"""A counter of batch norm that files older than PyTorch 0.4.1 lack and that no result depends on."""


def detect_layout(names: Collection[str], architecture: Architecture) -> Layout:
    """The layout of `architecture` that knows most of the names."""
    return max(architecture.layouts, key=lambda layout: sum(layout.to_ours(name) is not None for name in names))


def rename(weights: Mapping[str, Tensor], layout: Layout) -> dict[str, Tensor]:
    """The tensors that the layout knows, under our names."""
    return {ours: value for name, value in weights.items() if (ours := layout.to_ours(name)) is not None}


def fit(
    weights: Mapping[str, Tensor], expected: Mapping[str, Tensor], layout: Layout, *, where: str, hint: str
) -> dict[str, Tensor]:
    """Their tensors under our names, every one of them in its place.

    Args:
        weights: Tensors of the file under their names.
        expected: State dict of the network; may be on the device "meta".
        layout: Of the file.
        where: The file and what it was compared with, for the message.
        hint: What to do, for the message.

    Returns:
        One tensor for each name in `expected`, with its shape and dtype.

    Raises:
        DataError: Tensors are missing, unexpected, of another shape, or no finite floating-point numbers where they should be;
            the message lists all, under the file's names.
    """
    ours = {layout.to_ours(name): name for name in weights}
    missing = [name for name in expected if name not in ours and not name.endswith(BATCHES)]
    unexpected = [name for name in weights if layout.to_ours(name) not in expected and not layout.ignores(name)]
    wrong = [name for name in expected if name in ours and weights[ours[name]].shape != expected[name].shape]
    present = [ours[name] for name, tensor in expected.items() if name in ours and tensor.is_floating_point()]
    unusable = [name for name in present if not _is_dense_floating_point(weights[name])]
    nonfinite = [name for name in present if name not in unusable and not weights[name].isfinite().all()]
    if any((missing, unexpected, wrong, unusable, nonfinite)):
        findings = {
            "missing": [_line(layout.to_theirs(name) or name, expected[name]) for name in missing],
            "unexpected": [_line(name, weights[name]) for name in unexpected],
            "wrong shape": [f"{_line(ours[name], weights[ours[name]])}, needs {tuple(expected[name].shape)}" for name in wrong],
            "not dense floating point": [f"{_line(name, weights[name])}, {weights[name].dtype}" for name in unusable],
            "with NaN or infinity": [_line(name, weights[name]) for name in nonfinite],
        }
        listed = "\n".join(_paragraph(kind, lines) for kind, lines in findings.items() if lines)
        raise DataError(f"every tensor must fit the network; {where}:\n{listed}\n{hint}")
    return {name: _place(weights.get(ours.get(name, "")), tensor) for name, tensor in expected.items()}


def _is_dense_floating_point(value: Tensor) -> bool:
    return value.is_floating_point() and value.layout == torch.strided and not value.is_meta


def _place(value: Tensor | None, expected: Tensor) -> Tensor:
    return torch.zeros(expected.shape, dtype=expected.dtype) if value is None else value.detach().to(expected.dtype).clone()


def _line(name: str, value: Tensor) -> str:
    return f"{name} {tuple(value.shape)}"


def _paragraph(kind: str, lines: list[str]) -> str:
    return "\n".join([f"  {kind} ({len(lines)}):", *(f"    {line}" for line in lines)])
