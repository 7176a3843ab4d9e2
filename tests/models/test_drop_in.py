import copy

import pytest
import timm
import torch
import torchvision
from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.models import GCPClassifier, cut, replace_pooling
from tests.models.networks import SMALL_TIMM, images_for, small_timm, untrained
from tests.torch_versions import needs_torch_2_11


@pytest.mark.parametrize(("name", "options"), [case[:2] for case in SMALL_TIMM])
def test_the_rest_of_a_timm_model_stays_as_it_was(name, options):
    network = small_timm(name, options)
    images = images_for(network)
    tensors = {id(tensor) for tensor in (*network.parameters(), *network.buffers())}
    values = copy.deepcopy(network.state_dict())
    with torch.no_grad():
        expected = network.forward_features(images)
        model = replace_pooling(network, "svd_lyapunov", reduce_dim=4)
        assert torch.equal(model.forward_features(images), expected)
        scores = model(images)
    assert not model.training
    assert all(id(tensor) in tensors for tensor in (*model.backbone.parameters(), *model.backbone.buffers()))
    assert all(torch.equal(values[key], value) for key, value in model.backbone.network.state_dict().items())
    maps, _ = model.feature_format.split(model.backbone.normalise(expected))
    pooled = build_meta_layer("svd_lyapunov")(model.reduce(maps).flatten(2).unsqueeze(-1))
    assert torch.equal(scores, model.classifier(pooled))
    assert scores.shape == (2, 5)


@pytest.mark.parametrize("name", ["test_vit", "test_convnext", "test_mambaout"])
def test_every_weight_is_trained(name):
    network = small_timm(name, {})
    images = images_for(network)
    assert untrained(replace_pooling(network, "isqrt_cov", reduce_dim=4, class_token="concat"), images) == []


# Twenty whole models of ten families and more, on the device without memory: shapes, and which weights get a gradient.
FAMILIES = {
    **dict.fromkeys(
        ("resnet18", "resnext50_32x4d", "convnext_atto", "efficientnet_b0", "vgg11", "densenet121", "inception_v3"), "nchw"
    ),
    **dict.fromkeys(("mobilenetv3_small_050", "regnetx_002", "repvgg_a0", "pvt_v2_b0", "nfnet_f0", "swinv2_cr_tiny_224"), "nchw"),
    **dict.fromkeys(("vit_tiny_patch16_224", "deit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "levit_128s"), "tokens"),
    **dict.fromkeys(("mixer_s32_224", "xcit_nano_12_p8_224"), "tokens"),
    **dict.fromkeys(("swin_tiny_patch4_window7_224", "mambaout_femto"), "nhwc"),
}


@needs_torch_2_11
@pytest.mark.parametrize(("name", "layout"), FAMILIES.items())
def test_whole_timm_models(name, layout):
    with torch.device("meta"):
        network = timm.create_model(name, num_classes=7)
        channels, side = network.num_features, network.default_cfg["input_size"][-1]
        model = replace_pooling(network, "svd_lyapunov", reduce_dim=8)
        images = torch.empty(2, 3, side, side)
        assert model.backbone.layout == layout
        assert model.forward_features(images).shape[1 if layout == "nchw" else -1] == model.num_features == channels
        assert untrained(model, images) == []
        model.eval().reset_classifier(0)
        assert model(images).shape == (2, 36)


def test_sizes_are_said_and_fewer_channels_proposed():
    with torch.device("meta"):
        network = timm.create_model("resnet50", num_classes=10)
        with pytest.warns(UserWarning, match=r"2048 channels give 2,098,176 inputs and 20,981,770 weights .*reduce_dim=256"):
            model = replace_pooling(copy.deepcopy(network), "svd_lyapunov")
        assert model.get_classifier().in_features == 2_098_176
        assert replace_pooling(network, "svd_lyapunov", reduce_dim=64).get_classifier().in_features == 2080


@pytest.mark.parametrize(
    ("make", "classes"),
    [
        (lambda: timm.create_model("test_resnet", num_classes=3), 3),
        (lambda: torchvision.models.squeezenet1_1(num_classes=4), 4),
        (lambda: torchvision.models.resnet18(num_classes=6), 6),
    ],
)
def test_the_number_of_classes_is_the_models_own_unless_given(make, classes):
    images = torch.randn(1, 3, 64, 64)
    assert replace_pooling(make().eval(), "gap")(images).shape == (1, classes)
    assert replace_pooling(make().eval(), "gap", num_classes=9)(images).shape == (1, 9)


def test_dtype_and_mode_are_the_models_own():
    network = timm.create_model("test_resnet", num_classes=3).double().train()
    model = replace_pooling(network, "isqrt_cov", reduce_dim=4)
    assert model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float64}


def test_torchvisions_models_are_cut_too():
    network = torchvision.models.resnet18().eval()
    tensors = {id(parameter) for parameter in network.parameters()}
    model = replace_pooling(network, "svd_lyapunov", reduce_dim=8, num_classes=3)
    assert all(id(parameter) in tensors for parameter in model.backbone.parameters())
    assert model.forward_features(torch.randn(1, 3, 64, 64)).shape == (1, 512, 2, 2)


def test_a_network_of_this_package_gets_another_layer():
    first = replace_pooling(small_timm("test_resnet", {}), "gap")
    second = replace_pooling(first, "isqrt_cov", reduce_dim=4)
    assert isinstance(second, GCPClassifier)
    assert second.backbone is first.backbone
    assert second.num_classes == 5


def test_an_image_size_that_the_model_does_not_say():
    with torch.device("meta"):
        network = timm.create_model("volo_d1_224", img_size=64, num_classes=3)
        with pytest.raises(OptionError, match=r"volo_d1_224 on one of 3x224x224 gave .*pass another image_size"):
            replace_pooling(network, "gap")
        model = replace_pooling(network, "gap", image_size=64)
        assert (model.backbone.num_prefix_tokens, model(torch.empty(2, 3, 64, 64)).shape) == (1, (2, 3))


def test_other_networks_are_told_what_to_do():
    with pytest.raises(OptionError, match=r"got Sequential of torch.nn.modules.container: pass its part .* to GCPClassifier"):
        cut(nn.Sequential(nn.Conv2d(3, 4, 3)))
