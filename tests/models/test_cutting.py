import copy

import pytest
import torch
from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.models.cutting import CutNetwork, meta_copy


class Toy(nn.Module):
    """Maps, a norm and a classifier after their average, an extra branch that nothing uses, and a half-used block."""

    def __init__(self, channels_last=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.block = nn.ModuleDict({"used": nn.Conv2d(8, 8, 1), "extra": nn.Linear(4, 4)})
        self.fc_norm = nn.LayerNorm(8)
        self.fc = nn.Linear(8, 5)
        self.channels_last = channels_last

    def forward(self, images):
        maps = self.block["used"](self.conv(images))
        return maps.permute(0, 2, 3, 1) if self.channels_last else maps


@pytest.mark.parametrize("channels_last", [False, True])
def test_what_no_feature_depends_on_is_left_out(channels_last):
    network = Toy(channels_last)
    kept = {name: parameter for name, parameter in network.named_parameters() if name.startswith(("conv", "block.used"))}
    backbone = CutNetwork(network, name="toy", input_size=(3, 7, 9), num_features=8)
    assert {name: p for name, p in backbone.network.named_parameters()} == kept
    assert all(parameter is kept[name] for name, parameter in backbone.network.named_parameters())
    assert (backbone.layout, backbone.num_features) == ("nhwc" if channels_last else "nchw", 8)


@pytest.mark.parametrize("channels_last", [False, True])
def test_the_norm_behind_the_pooling_moves_in_front_of_it(channels_last):
    network = Toy(channels_last)
    nn.init.normal_(network.fc_norm.weight)
    norm = network.fc_norm
    backbone = CutNetwork(network, name="toy", input_size=(3, 7, 9), num_features=8)
    images = torch.randn(2, 3, 7, 9)
    raw = backbone.forward_features(images)
    expected = norm(raw) if channels_last else norm(raw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    assert torch.equal(backbone(images), expected)
    assert backbone.norm.weight is norm.weight


def test_weights_and_memory_are_left_alone_by_the_dry_run():
    network = Toy()
    before = copy.deepcopy(network.state_dict())
    state = torch.random.get_rng_state()
    backbone = CutNetwork(network, name="toy", input_size=(3, 7, 9), num_features=8)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(before[name], value) for name, value in backbone.network.state_dict().items())
    assert all(parameter.grad is None for parameter in backbone.parameters())


def test_frozen_weights_stay_frozen_and_count_as_used():
    network = Toy()
    network.conv.requires_grad_(False)
    backbone = CutNetwork(network, name="toy", input_size=(3, 7, 9), num_features=8)
    assert isinstance(backbone.network.conv, nn.Conv2d)
    assert [p.requires_grad for p in backbone.network.parameters()] == [False, False, True, True]


def test_a_meta_copy_shares_nothing_and_takes_no_memory():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    copied = meta_copy(network)
    assert all(tensor.is_meta for tensor in copied.state_dict().values())
    assert [t.shape for t in copied.state_dict().values()] == [t.shape for t in network.state_dict().values()]
    assert not any(tensor.is_meta for tensor in network.state_dict().values())


def test_an_image_that_the_network_does_not_take_is_explained():
    with pytest.raises(OptionError, match=r"toy on one of 4x7x9 gave RuntimeError: .*pass another image_size, or a backbone"):
        CutNetwork(Toy(), name="toy", input_size=(4, 7, 9), num_features=8)
