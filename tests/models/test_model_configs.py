from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml

from gcp_repro.models import HEADS
from gcp_repro.training.build import build, build_network
from tests.torch_versions import needs_torch_2_11

CONFIGS = Path(__file__).parents[2] / "configs" / "model"
SHAPES = {  # image, channels and positions of the features
    "alexnet": (224, 256, 169), "alexnet_bn": (224, 256, 169), "vgg16_bn": (224, 512, 196), "densenet121": (224, 1024, 49),
    "inception_v3": (299, 2048, 64), "resnet50": (224, 2048, 49), "resnet101": (224, 2048, 49), "deit_small": (224, 384, 196),
    "swin_tiny": (224, 768, 49), "digits": (8, 64, 36), "fashion_mnist": (28, 64, 144),
    "study": (28, 64, 49), "textures": (32, 64, 49),
}  # fmt: skip


def test_every_configuration_is_tested():
    assert {path.stem for path in CONFIGS.glob("*.yaml")} == SHAPES.keys()


def network_of(compose_train, *overrides):
    config = compose_train(*overrides)
    return build_network(config.model, SimpleNamespace(in_channels=3, num_classes=10), build(config.meta_layer))


@needs_torch_2_11
@pytest.mark.parametrize(("name", "shape"), SHAPES.items())
def test_configurations_build_what_they_say(compose_train, name, shape):
    side, channels, positions = shape
    with torch.device("meta"):
        network = network_of(compose_train, f"model={name}", "meta_layer=isqrt_cov").eval()
        images = torch.empty(2, 3, side, side)
        maps, _ = network.feature_format.split(network.backbone(images))
        assert (maps.shape[1], maps.shape[2:].numel()) == (channels, positions)
        assert network(images).shape == (2, 10)


@needs_torch_2_11
def test_so_vits_head(compose_train):
    """Six heads of 24 x 24 beside 384 numbers of the class token."""
    with torch.device("meta"):
        network = network_of(compose_train, "model=deit_small", "meta_layer=cross_covariance", "+meta_layer.heads=6")
    assert network.classifier[0].in_features == 6 * 24 * 24
    assert network.token_classifier.in_features == 384
    assert network.drop_rate == 0.5


@pytest.mark.parametrize("model", ["digits", "alexnet"])
def test_heads_are_a_group_of_their_own(compose_train, model):
    with torch.device("meta"):
        network = network_of(
            compose_train, f"model={model}", "model.hidden_dims=[]", "+model/head=low_rank_bilinear", "model.head.rank=4"
        )
    assert network.classifier.factors.shape == (10, 4, {"digits": 64, "alexnet": 256}[model])


def test_reductions_are_options(compose_train):
    with torch.device("meta"):
        network = network_of(
            compose_train, "model=densenet121", "model.reduce_dim=[512, 256]", "model.reduce_groups=2", "+meta_layer.heads=2"
        )
    assert [layer.out_channels for layer in network.reduce[::3]] == [512, 256]
    assert network.classifier[0].in_features == 2 * 128 * 129 // 2


def test_every_head_has_a_configuration_with_all_its_options():
    assert {path.stem for path in (CONFIGS / "head").glob("*.yaml")} == HEADS.keys()
    for name, entry in HEADS.items():
        shown = yaml.safe_load((CONFIGS / "head" / f"{name}.yaml").read_text())
        assert shown == {"name": name, **{key: list(v) if isinstance(v, tuple) else v for key, v in entry.defaults.items()}}
