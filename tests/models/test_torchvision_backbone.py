import warnings

import pytest
import torch
from torchvision import models

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.models import TorchvisionBackbone
from tests.models.networks import untrained

SHAPES = [
    ("alexnet", 224, (256, 13, 13)),
    ("vgg11", 224, (512, 14, 14)),
    ("resnet18", 224, (512, 7, 7)),
    ("densenet121", 224, (1024, 7, 7)),
    ("inception_v3", 299, (2048, 8, 8)),
    ("googlenet", 224, (1024, 7, 7)),
    ("efficientnet_b0", 224, (1280, 7, 7)),
    ("convnext_tiny", 224, (768, 7, 7)),
    ("swin_t", 224, (768, 7, 7)),
    ("mobilenet_v3_small", 224, (576, 7, 7)),
    ("shufflenet_v2_x0_5", 224, (1024, 7, 7)),
    ("maxvit_t", 224, (512, 7, 7)),
]


@pytest.mark.parametrize(("name", "side", "shape"), SHAPES)
def test_the_features_of_every_family(name, side, shape):
    with torch.device("meta"):
        backbone = TorchvisionBackbone(name).eval()
        assert backbone(torch.empty(1, 3, side, side)).shape == (1, *shape)
    assert (backbone.name, backbone.num_features, backbone.layout) == (name, shape[0], "nchw")


def test_vit_gives_tokens_behind_a_class_token():
    network = models.VisionTransformer(32, 8, num_layers=1, num_heads=2, hidden_dim=16, mlp_dim=16).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network(images)
        head = network.heads
        backbone = TorchvisionBackbone.from_network(network)
        features = backbone(images)
    assert (backbone.layout, backbone.num_prefix_tokens, backbone.num_class_tokens) == ("tokens", 1, 1)
    assert features.shape == (2, 17, 16)
    assert torch.allclose(head(features[:, 0]), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["resnet18", "densenet121", "regnet_y_400mf", "squeezenet1_1"])
def test_pooled_features_and_the_networks_own_classifier_give_its_scores(name):
    torch.manual_seed(0)
    network = models.get_model(name).eval()
    classifier = network.classifier if hasattr(network, "classifier") else network.fc
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
        features = TorchvisionBackbone.from_network(network).eval()(images)
        pooled = features if name == "squeezenet1_1" else features.mean((2, 3))
        assert torch.allclose(classifier(pooled).flatten(1), expected, atol=1e-5)


def test_inceptions_colours_are_turned_as_its_weights_need_them():
    """Published weights come with `transform_input`, which random ones leave out."""
    torch.manual_seed(0)
    network = models.googlenet(init_weights=False, transform_input=True, aux_logits=False).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        expected = network(images)
        features = TorchvisionBackbone.from_network(network)(images)
        assert torch.allclose(network.fc(features.mean((2, 3))), expected, atol=1e-5)
    with pytest.raises(OptionError, match="transform_input scales three colours; got in_channels=1: leave both out"):
        TorchvisionBackbone("googlenet", in_channels=1, transform_input=True)


def test_vgg_and_alexnet_end_before_their_last_pooling():
    network = models.alexnet()
    backbone = TorchvisionBackbone.from_network(network)
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(network.features[-1](backbone(images)), network.features(images))


def test_the_norm_of_convnext_moves_in_front_of_the_pooling():
    setting = [models.convnext.CNBlockConfig(8, 8, 1), models.convnext.CNBlockConfig(8, None, 1)]
    network = models.ConvNeXt(setting)
    norm = network.classifier[0]
    backbone = TorchvisionBackbone.from_network(network)
    images = torch.randn(1, 3, 32, 32)
    assert backbone.norm.weight is norm.weight
    assert torch.allclose(backbone(images), norm(backbone.forward_features(images)), atol=1e-6)


@pytest.mark.parametrize("name", ["alexnet", "shufflenet_v2_x0_5"])
def test_nothing_is_left_that_training_would_not_reach(name):
    assert untrained(TorchvisionBackbone(name), torch.randn(2, 3, 64, 64)) == []


def test_grey_images():
    torch.manual_seed(0)
    colour = TorchvisionBackbone("squeezenet1_1")
    torch.manual_seed(0)
    grey = TorchvisionBackbone("squeezenet1_1", in_channels=1)
    images = torch.randn(1, 1, 64, 64)
    assert torch.allclose(grey(images), colour(images.expand(-1, 3, -1, -1)), atol=1e-5)


def test_random_inception_makes_no_noise():
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("error")
        TorchvisionBackbone("inception_v3")


def test_unknown_and_foreign_networks_are_refused():
    with pytest.raises(UnknownNameError, match=r"no torchvision classifier 'resnet49'; nearest: .*'resnet50'"):
        TorchvisionBackbone("resnet49")
    with torch.device("meta"):
        detector = models.detection.ssdlite320_mobilenet_v3_large(weights_backbone=None)
    with pytest.raises(OptionError, match="a network must be a classifier of torchvision; got SSD"):
        TorchvisionBackbone.from_network(detector)
