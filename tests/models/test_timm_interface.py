import pytest
import torch
from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.models import ConvStage, GCPClassifier, NarrowAlexNet, replace_pooling
from tests.models.networks import small_timm

IMAGES = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def network(**options):
    torch.manual_seed(0)
    return replace_pooling(small_timm("test_resnet", {}), "svd_lyapunov", **{"reduce_dim": 6, **options})


def test_forward_is_features_and_head():
    model = network()
    features = model.forward_features(IMAGES)
    assert features.shape == (2, 96, 2, 2)
    assert torch.equal(model(IMAGES), model.forward_head(features))
    assert model.forward_head(features, pre_logits=True).shape == (2, 21)
    assert (model.num_features, model.head_hidden_size, model.num_classes) == (96, 21, 5)


def test_no_classes_give_the_pooled_features():
    model = network(num_classes=0)
    features = model.forward_features(IMAGES)
    assert torch.equal(model(IMAGES), model.forward_head(features, pre_logits=True))
    assert isinstance(model.get_classifier(), nn.Identity)


def test_a_new_classifier_leaves_the_rest_alone():
    model = network().double().eval()
    before = model.forward_features(IMAGES.double())
    pooled = model.forward_head(before, pre_logits=True)
    model.reset_classifier(7)
    assert torch.equal(model.forward_features(IMAGES.double()), before)
    assert torch.equal(model.forward_head(before, pre_logits=True), pooled)
    scores = model(IMAGES.double())
    assert scores.shape == (2, 7)
    assert scores.dtype == torch.float64
    classifier = model.get_classifier()
    assert torch.allclose(scores, pooled @ classifier.weight.T + classifier.bias)


def test_a_new_classifier_with_another_layer():
    model = network()
    model.reset_classifier(3, "gap")
    assert model(IMAGES).shape == (2, 3)
    assert model.get_classifier().in_features == 6
    layer = build_meta_layer("isqrt_cov", heads=2)
    model.reset_classifier(3, layer)
    assert model.meta_layer is layer
    assert model.get_classifier().in_features == 12


def test_without_pooling_the_features_come_as_they_are():
    model = network()
    model.reset_classifier(0, "")
    assert torch.equal(model(IMAGES), model.forward_features(IMAGES))
    assert model.head_hidden_size == 96
    model.reset_classifier(0)
    assert model(IMAGES).shape == (2, 96, 2, 2)
    with pytest.raises(OptionError, match="needs a meta-layer and num_classes of at least 0; got num_classes=3"):
        model.reset_classifier(3)
    model.reset_classifier(3, "svd_lyapunov")
    assert model(IMAGES).shape == (2, 3)


def test_class_tokens_keep_their_classifier():
    model = replace_pooling(small_timm("test_vit", {}), "gap", class_token="concat")
    images = torch.randn(1, 3, 160, 160)
    model.reset_classifier(7)
    assert (model(images).shape, model.token_classifier.out_features) == ((1, 7), 7)
    model.reset_classifier(0)
    assert (model(images).shape, model.token_classifier) == ((1, 128), None)


def test_several_linear_layers_are_the_classifier_together():
    model = GCPClassifier(NarrowAlexNet([ConvStage(4, 3)]), "gap", 3, hidden_dims=(8,))
    assert model.get_classifier() is model.classifier


def test_intermediate_features_and_the_rest_are_the_backbones_own():
    model = network()
    final, stages = model.forward_intermediates(IMAGES, indices=2, output_fmt="NCHW")
    assert torch.equal(final, model.forward_features(IMAGES))
    assert [stage.shape[1] for stage in stages] == [stage["num_chs"] for stage in model.feature_info][-2:]
    assert model.default_cfg is model.pretrained_cfg is model.backbone.network.default_cfg
    model.set_grad_checkpointing(True)
    assert model.backbone.network.grad_checkpointing
    assert not hasattr(GCPClassifier(NarrowAlexNet([ConvStage(4, 3)]), "gap", 3), "feature_info")


def test_weight_decay_is_spared_by_the_names_of_this_network():
    model = replace_pooling(small_timm("test_vit", {}), "gap")
    names = model.no_weight_decay()
    assert "backbone.network.pos_embed" in names
    assert all(name.startswith("backbone.network.") for name in names)
    assert GCPClassifier(NarrowAlexNet([ConvStage(4, 3)]), "gap", 3).no_weight_decay() == set()
