"""What is tested from a version of torch on: layers compute with every one that pyproject.toml allows."""

from __future__ import annotations

import pytest
import torch

needs_torch_2_11 = pytest.mark.skipif(
    torch.__version__ < "2.11", reason="compilers, exporters, the meta device and fake GPUs are tested from torch 2.11 on"
)
"""With torch 2.6 `cbp` and `g2denet` are not exported for batches of any size, fake tensors of a GPU ask for a driver, and
timm's transformers are not made on the meta device."""
