"""Random numbers follow from seed, draws and process, on every device and without data."""

from __future__ import annotations

import numpy as np
import torch
from torch._subclasses import FakeTensorMode

from gcp_repro.linalg.machinery import random_numbers
from gcp_repro.linalg.machinery.random_numbers import uniform

CPU = torch.device("cpu")


def test_numbers_are_those_of_numpys_generator_of_seed_draws_and_rank(monkeypatch):
    state = torch.tensor([5, 7])
    numbers = uniform(state, 3, 4, CPU)
    assert numbers.dtype == torch.float64
    assert numbers.tolist() == np.random.default_rng((5, 7, 0)).random((3, 4)).tolist()
    assert state.tolist() == [5, 7]
    monkeypatch.setattr(random_numbers, "_rank", lambda: 2)
    assert uniform(state, 3, 4, CPU).tolist() == np.random.default_rng((5, 7, 2)).random((3, 4)).tolist()


def test_without_data_they_have_the_same_shape_and_dtype():
    with FakeTensorMode():
        fake = uniform(torch.tensor([5, 7]), 3, 4, CPU)
    assert (fake.shape, fake.dtype, fake.device) == ((3, 4), torch.float64, CPU)
    assert uniform(torch.tensor([5, 7]), 3, 4, torch.device("meta")).device.type == "meta"  # where the features are


def test_the_rank_is_that_in_the_group_of_processes(monkeypatch):
    assert random_numbers._rank() == 0
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    assert random_numbers._rank() == 3
