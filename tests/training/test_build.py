from types import SimpleNamespace

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from gcp_repro.data import DigitsDataModule
from gcp_repro.errors import OptionError, ProtocolError
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.training.build import build, build_experiment, build_network, label_of, learning_rate, plan


class DeepRedDataModule:
    pass


class VGG16Backbone:
    name = 16


def test_labels_are_names_or_class_names_in_snake_case():
    assert label_of(DigitsDataModule()) == "digits"
    assert label_of(DeepRedDataModule()) == "deep_red"
    assert label_of(VGG16Backbone()) == "vgg16"


def test_errors_of_this_package_come_through_hydra_as_they_are():
    with pytest.raises(OptionError, match="svd_pade has no option 'degre'"):
        build(OmegaConf.create({"_target_": "gcp_repro.metalayers.build_meta_layer", "name": "svd_pade", "degre": 3}))
    with pytest.raises(InstantiationException, match=r"math\.sqrt"):
        build(OmegaConf.create({"_target_": "math.sqrt", "_args_": ["needs_a_number"]}))


def test_the_network_gets_channels_and_classes_from_the_data(compose_tiny):
    data = SimpleNamespace(in_channels=3, num_classes=7)
    network = build_network(compose_tiny().model, data, build_meta_layer("gap"))
    assert next(network.backbone.parameters()).shape[1] == 3
    assert network.classifier[-1].out_features == 7


def test_the_plan_is_that_of_the_protocol(compose_tiny):
    assert plan(compose_tiny("protocol=standalone")) is None
    hybrid = plan(compose_tiny("protocol=hybrid", "protocol.warmup_epochs=1"))
    assert hybrid is not None
    assert hybrid.swap_epoch == 2
    config = compose_tiny()
    config.protocol.name = "hybird"
    with pytest.raises(OptionError, match=r"needs the name 'standalone' or 'hybrid'; got 'hybird': change protocol\.name"):
        plan(config)


def test_a_layer_that_is_its_own_initial_one_is_not_swapped(compose_tiny):
    same = build_experiment(compose_tiny("protocol=hybrid", "meta_layer=isqrt_cov")).swap
    other = build_experiment(compose_tiny("protocol=hybrid", "meta_layer=svd_pade")).swap
    assert same is not None
    assert len({id(layer) for _, layer in same.stages.values()}) == 1
    assert other is not None
    assert len({id(layer) for _, layer in other.stages.values()}) == 2


def test_layers_of_another_matrix_cannot_follow(compose_tiny):
    with pytest.raises(ProtocolError, match=r"can go on from 'isqrt_cov'.*; got 'deep_o2p': set protocol=standalone"):
        build_experiment(compose_tiny("protocol=hybrid", "meta_layer=deep_o2p"))


def test_the_rate_grows_with_the_batch_only_when_asked(compose_tiny):
    options = ["optimizer.lr=0.1", "data.batch_size=20"]
    plain = compose_tiny(*options)
    assert learning_rate(plain) == 0.1
    scaled = compose_tiny(*options, "lr_for_batch_size=8")
    assert learning_rate(scaled) == pytest.approx(0.25)
    groups = build_experiment(scaled).module.configure_optimizers()["optimizer"].param_groups
    assert [group["lr"] for group in groups] == [pytest.approx(0.25)] * 2
    with pytest.raises(OptionError, match="lr_for_batch_size needs at least 1 image; got 0: change it"):
        learning_rate(compose_tiny("lr_for_batch_size=0"))


def test_weights_lie_in_memory_as_the_images_do(compose_train, tmp_path):
    config = compose_train("data=imagenette", "data.tiny=true", f"paths.data_dir={tmp_path}", "model=resnet50")
    weight = next(build_experiment(config).module.network.backbone.parameters())
    assert weight.is_contiguous(memory_format=torch.channels_last)
