import os

import pytest
import torch
from torch import nn

from gcp_repro.bench.cases import Case, Shape
from gcp_repro.bench.memory import MemoryProbe, resident_peak
from gcp_repro.bench.timing import Trial

pytestmark = pytest.mark.skipif(not MemoryProbe.supported(), reason="peaks of a process are told by Linux with glibc only")

MEGABYTE = 2**20


class Wasteful(nn.Module):
    """Fills 64 MiB in its forward, and frees them."""

    def forward(self, x):
        return x + torch.ones(8 * MEGABYTE, dtype=torch.float64).sum() * 0.0


class Thrifty(nn.Module):
    def forward(self, x):
        return x * 2


def test_the_peak_is_what_was_in_use_at_one_time():
    features = torch.ones(2, 2)
    assert resident_peak(Trial(Thrifty(), features, torch.ones)) < 16 * MEGABYTE
    assert 60 * MEGABYTE < resident_peak(Trial(Wasteful(), features, torch.ones)) < 80 * MEGABYTE


def test_the_probe_measures_layers_in_a_process_of_its_own(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "1000")
    shape = Shape.parse("32x64x8x8")
    with MemoryProbe(threads=1) as probe:
        pooled = probe.measure(Case("gcp_repro", "gap"), shape)
        decomposed = probe.measure(Case("gcp_repro", "svd_lyapunov", "dense", "float64"), shape)
        with pytest.raises(RuntimeError, match="UnknownNameError: no meta-layer 'nothing'"):
            probe.measure(Case("gcp_repro", "nothing"), shape)
    # kept for the backward: the eigenvectors of each of 32 images, 64 x 64 in float64
    assert decomposed - pooled > 32 * 64 * 64 * 8
    assert os.environ["MALLOC_MMAP_THRESHOLD_"] == "1000"
