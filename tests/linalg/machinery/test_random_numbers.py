"""Random numbers follow from seed, draws and process, on every device and without data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

from gcp_repro.errors import OptionError
from gcp_repro.linalg.machinery import random_numbers
from gcp_repro.linalg.machinery.random_numbers import uniform


def test_numbers_are_those_of_numpys_generator_of_seed_draws_and_rank(monkeypatch):
    state, features = torch.tensor([5, 7]), torch.zeros(3, 4, 2)
    numbers = uniform(state, features)
    assert numbers.dtype == torch.float64
    assert numbers.tolist() == np.random.default_rng((5, 7, 0)).random((3, 4)).tolist()
    assert state.tolist() == [5, 7]
    monkeypatch.setattr(random_numbers, "_rank", lambda: 2)
    assert uniform(state, features).tolist() == np.random.default_rng((5, 7, 2)).random((3, 4)).tolist()


def test_without_data_they_have_the_same_shape_and_dtype_where_the_features_are():
    with FakeTensorMode():
        fake = uniform(torch.tensor([5, 7]), torch.empty(3, 4, 2, device="cuda"))
    assert (fake.shape, fake.dtype, fake.device.type) == ((3, 4), torch.float64, "cuda")


def test_a_transform_has_to_say_whether_they_differ():
    state, features = torch.tensor([5, 7]), torch.zeros(3, 2, 4, 2)
    expected = uniform(state, features.flatten(0, 1))

    def draw(randomness):
        return torch.func.vmap(lambda x: uniform(state, x), in_dims=0, randomness=randomness)(features)

    assert torch.equal(draw("different"), expected.view(3, 2, 4))
    assert torch.equal(draw("same"), uniform(state, features[0]).expand(3, 2, 4))
    with pytest.raises(
        OptionError, match=r"got randomness='error': pass randomness='different' or 'same' to vmap, or call eval\(\)"
    ):
        draw("error")


def test_the_rank_is_that_in_the_group_of_processes(monkeypatch):
    assert random_numbers._rank() == 0
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 3)
    assert random_numbers._rank() == 3
