import pytest
import torch
from torch import nn

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.models import BACKBONES, AlexNetBN, ConvStage, NarrowAlexNet, TimmBackbone, build_backbone


def test_alexnet_bn_gives_256_channels_of_13_by_13():
    backbone = AlexNetBN()
    with torch.no_grad():
        assert backbone(torch.zeros(2, 3, 224, 224)).shape == (2, 256, 13, 13)
    assert backbone.num_features == 256


def test_alexnet_bn_has_torchvisions_convolutions_with_batch_norm():
    torchvision = pytest.importorskip("torchvision")
    theirs = [layer for layer in torchvision.models.alexnet().features if isinstance(layer, nn.Conv2d)]
    ours = [layer for layer in AlexNetBN().features if isinstance(layer, nn.Conv2d)]
    for one, other in zip(theirs, ours, strict=True):
        assert str(one) == str(other)
    layers = list(AlexNetBN().features)
    following = [type(layers[i + 1]) for i, layer in enumerate(layers) if isinstance(layer, nn.Conv2d)]
    assert following == [nn.BatchNorm2d] * 5
    assert sum(isinstance(layer, nn.MaxPool2d) for layer in layers) == 2
    assert isinstance(layers[-1], nn.ReLU)


@pytest.mark.parametrize("in_channels", [1, 3])
def test_narrow_alexnet_takes_stages_from_a_configuration(in_channels):
    stages = [{"channels": 32, "kernel": 3}, {"channels": 48, "kernel": 3}, {"channels": 64, "kernel": 3, "padding": 0}]
    backbone = NarrowAlexNet(stages, in_channels)
    assert backbone(torch.zeros(2, in_channels, 8, 8)).shape == (2, 64, 6, 6)
    assert backbone.num_features == 64


def test_narrow_alexnet_pools_where_it_is_told():
    stages = [ConvStage(4, kernel=5, stride=2, padding=1, pool=2), ConvStage(8, kernel=3)]
    assert NarrowAlexNet(stages, 1)(torch.zeros(1, 1, 32, 32)).shape == (1, 8, 7, 7)


def test_stages_without_batch_norm_or_relu():
    def kinds(**options):
        return [type(layer) for layer in ConvStage(4, kernel=3, pool=2, **options).layers(1)]

    assert kinds() == [nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.MaxPool2d]
    assert kinds(batch_norm=False) == [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert kinds(relu=False) == [nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d]
    backbone = NarrowAlexNet([{"channels": 4, "kernel": 3, "batch_norm": False, "relu": False}], 1)
    assert (backbone(torch.randn(2, 1, 8, 8)) < 0).any()


def test_no_stage_is_refused():
    with pytest.raises(OptionError, match=r"at least one stage; got none: fill model.backbone.stages"):
        NarrowAlexNet([])


@pytest.mark.parametrize("wrong", [{"channels": 0}, {"kernel": 0}, {"stride": 0}, {"padding": -1}, {"pool": -2}])
def test_stage_sizes_out_of_range_are_refused(wrong):
    with pytest.raises(OptionError, match=r"channels, kernel and stride of at least 1.*change model.backbone.stages"):
        ConvStage(**{"channels": 8, "kernel": 3, **wrong})


def test_backbones_by_name():
    assert isinstance(build_backbone("alexnet_bn"), AlexNetBN)
    resnet = build_backbone("resnet18")
    assert isinstance(resnet, TimmBackbone)
    assert resnet.name == "resnet18"


@pytest.mark.parametrize(("name", "nearest"), [("alexnet", "alexnet_bn"), ("resnet5O", "resnet50")])
def test_unknown_backbone_gets_the_nearest_names(name, nearest):
    with pytest.raises(UnknownNameError, match=f"no backbone '{name}'; nearest: .*'{nearest}'"):
        build_backbone(name)


@pytest.mark.parametrize("name", BACKBONES)
def test_registered_backbones_know_their_name_and_width(name):
    backbone = build_backbone(name)
    assert backbone.name == name
    assert backbone.num_features > 0
