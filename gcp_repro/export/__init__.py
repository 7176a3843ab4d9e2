"""Trained networks for other programs.

Imports: `metalayers`.
"""

from gcp_repro.export.onnx import to_onnx

__all__ = ["to_onnx"]
