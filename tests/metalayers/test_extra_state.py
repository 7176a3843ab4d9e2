"""What is no weight is known by one name, whatever holds it and wherever; what it is of a layer is in test_state.py."""

from __future__ import annotations

import torch
from torch import nn

from gcp_repro.metalayers import build_meta_layer, is_extra_state
from gcp_repro.metalayers.dropout import ChannelDropout


class Mine(nn.Module):
    """Dropout under another name than a layer gives it."""

    def __init__(self):
        super().__init__()
        self.linear, self.state = nn.Linear(3, 4), nn.Parameter(torch.zeros(2))
        self.drop_channels, self.pooling = ChannelDropout(0.5), build_meta_layer("dropcov", dropout=0.2)

    def forward(self, x):
        return self.pooling(self.drop_channels(self.linear(x).mT))


def test_weights_and_what_is_none():
    names = [name for name in Mine().state_dict() if not is_extra_state(name)]
    assert names == ["state", "linear.weight", "linear.bias"]


def test_states_are_loaded_where_there_are_some_and_left_alone_otherwise():
    """Averages of weights may have made floating-point numbers of them."""
    first, second, third = (Mine() for _ in range(3))
    first(torch.rand(2, 6, 3))
    averaged = {name: value.double() for name, value in first.state_dict().items()}
    second.load_state_dict(averaged)
    assert torch.equal(second.drop_channels.state, first.drop_channels.state)
    assert torch.equal(second.pooling.dropout.state, first.pooling.dropout.state)
    before = [third.drop_channels.state.clone(), third.pooling.dropout.state.clone()]
    third.load_state_dict({name: value for name, value in averaged.items() if not is_extra_state(name)})
    assert torch.equal(third.linear.weight, first.linear.weight)
    assert [third.drop_channels.state.tolist(), third.pooling.dropout.state.tolist()] == [state.tolist() for state in before]
