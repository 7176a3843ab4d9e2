import pytest
import torch
from torch import nn

from gcp_repro.errors import OptionError, ShapeError
from gcp_repro.models import FeatureFormat


class Backbone(nn.Module):
    num_features = 6

    def __init__(self, **attributes):
        super().__init__()
        for name, value in attributes.items():
            setattr(self, name, value)


def test_a_backbone_without_attributes_has_its_channels_found():
    form = FeatureFormat.of(Backbone())
    maps = torch.randn(2, 6, 3, 4)
    assert form.split(maps)[0] is maps
    assert torch.equal(form.split(maps.permute(0, 2, 3, 1))[0], maps)
    assert torch.equal(form.split(maps.flatten(2).mT)[0], maps.flatten(2).unsqueeze(-1))


def test_class_tokens_are_kept_beside_and_registers_dropped():
    form = FeatureFormat.of(Backbone(layout="tokens", num_prefix_tokens=5, num_class_tokens=2))
    tokens = torch.randn(3, 5 + 4, 6)
    maps, beside = form.split(tokens)
    assert torch.equal(maps, tokens[:, 5:].mT.unsqueeze(-1))
    assert torch.equal(beside, torch.cat([tokens[:, 0], tokens[:, 1]], dim=1))


def test_tokens_without_prefix_are_all_of_the_image():
    maps, beside = FeatureFormat.of(Backbone(layout="tokens")).split(torch.randn(3, 4, 6))
    assert maps.shape == (3, 6, 4, 1)
    assert beside is None


def test_a_mismatch_names_both_sizes():
    with pytest.raises(ShapeError, match=r"Backbone says 6 channels in layout 'nchw', dimension 1; .* \(2, 7, 7, 6\), 7 there"):
        FeatureFormat.of(Backbone(layout="nchw")).split(torch.zeros(2, 7, 7, 6))


def test_class_tokens_alone_cannot_be_pooled():
    form = FeatureFormat.of(Backbone(layout="tokens", num_prefix_tokens=1, num_class_tokens=1))
    with pytest.raises(ShapeError, match=r"Backbone gives \(2, 1, 6\), of which 1 are class tokens or registers"):
        form.split(torch.zeros(2, 1, 6))


def test_several_tensors_are_refused():
    with pytest.raises(ShapeError, match="must be one tensor; Backbone gives a list of 2"):
        FeatureFormat.of(Backbone()).split([torch.zeros(2, 6, 3), torch.zeros(2, 6, 3)])


def test_a_backbone_must_say_how_many_channels_it_makes():
    with pytest.raises(OptionError, match=r"integer attribute num_features, .* that of Linear is None"):
        FeatureFormat.of(nn.Linear(1, 1))
    with pytest.raises(OptionError, match=r"layout must be one of .* got 'hwc'"):
        FeatureFormat.of(Backbone(layout="hwc"))
