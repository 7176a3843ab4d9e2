import pytest
import torch
from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.models.reduction import channel_reduction


def test_several_numbers_are_as_many_steps():
    reduction = channel_reduction(32, [16, 8])
    kinds = [nn.Conv2d, nn.BatchNorm2d, nn.ReLU]
    assert [type(layer) for layer in reduction] == [*kinds, *kinds]
    assert reduction(torch.randn(2, 32, 3, 3)).shape == (2, 8, 3, 3)


def test_linear_is_the_matrix_alone():
    (convolution,) = channel_reduction(8, 4, kind="linear")
    features = torch.randn(2, 8, 5, 1)
    expected = torch.einsum("oc,bcnk->bonk", convolution.weight[:, :, 0, 0], features)
    assert torch.allclose(convolution(features), expected, atol=1e-6)
    assert convolution.bias is None


def test_groups_see_their_own_share_of_the_channels():
    reduction = channel_reduction(8, [8, 4], groups=2).eval()
    features = torch.randn(2, 8, 3, 3)
    changed = features.clone()
    changed[:, :4] += 1
    before, after = reduction(features), reduction(changed)
    assert torch.equal(before[:, 2:], after[:, 2:])
    assert not torch.equal(before[:, :2], after[:, :2])


@pytest.mark.parametrize(("channels", "reduce_dim", "groups"), [(8, 6, 4), (6, 8, 4), (8, [8, 6], 4)])
def test_groups_must_divide_every_step(channels, reduce_dim, groups):
    with pytest.raises(OptionError, match=f"reduce_groups must divide the channels of every step; got {groups} groups"):
        channel_reduction(channels, reduce_dim, groups=groups)


def test_unknown_kind_is_refused():
    with pytest.raises(OptionError, match="kind must be one of convolution, linear; got 'conv'"):
        channel_reduction(8, 4, kind="conv")
