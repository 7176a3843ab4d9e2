"""Precision of products on a GPU, which there need not be: the setting is one of torch's."""

import pytest
import torch
from torch._subclasses import FakeTensorMode

from gcp_repro.linalg.machinery.modes import in_own_precision, is_recorded


@pytest.fixture
def _tf32():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="needs torch 2.9")
@pytest.mark.usefixtures("_tf32")
def test_tf32_is_off_on_a_gpu_and_back_afterwards():
    matmul = torch.backends.cuda.matmul
    with FakeTensorMode():
        features = torch.empty(1, device="cuda")
    with in_own_precision(features), in_own_precision(features):
        assert matmul.fp32_precision == "ieee"
    assert (matmul.fp32_precision, torch.get_float32_matmul_precision()) == ("tf32", "high")
    with in_own_precision(torch.empty(1)):
        assert matmul.fp32_precision == "tf32"  # a setting of the whole process is left alone where it does not matter


def test_nothing_is_recorded_without_a_gpu(monkeypatch):
    """The question itself fails without a driver."""
    assert not is_recorded()
    for question in ("is_initialized", "is_current_stream_capturing"):
        monkeypatch.setattr(torch.cuda, question, lambda: True)
    assert is_recorded()
