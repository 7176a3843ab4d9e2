import pytest
import torch
from torch import nn

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
from gcp_repro.models import ConvStage, GCPClassifier, NarrowAlexNet
from gcp_repro.models.classifier import is_first_order


def backbone(channels=8):
    return NarrowAlexNet([ConvStage(channels, kernel=3)], in_channels=1)


@pytest.mark.parametrize("name", META_LAYERS)
def test_every_meta_layer_fits_and_sends_gradients_to_every_parameter(name):
    torch.manual_seed(0)
    network = GCPClassifier(backbone(), build_meta_layer(name), num_classes=3)
    scores = network(torch.randn(4, 1, 6, 6))
    assert scores.shape == (4, 3)
    assert scores.dtype == torch.float32
    scores.square().sum().backward()
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


def test_parts_are_the_public_attributes():
    network = GCPClassifier(backbone(), "isqrt_cov", num_classes=3, reduce_dim=4).eval()
    assert [name for name, _ in network.named_children()] == ["backbone", "reduce", "meta_layer", "classifier"]
    images = torch.randn(2, 1, 6, 6)
    step_by_step = network.classifier(network.meta_layer(network.reduce(network.backbone(images))))
    assert torch.equal(network(images), step_by_step)


def test_reduction_is_convolution_batch_norm_relu_initialised_by_kaiming():
    torch.manual_seed(0)
    convolution, norm, relu = GCPClassifier(backbone(64), "isqrt_cov", num_classes=3, reduce_dim=256).reduce
    assert isinstance(norm, nn.BatchNorm2d)
    assert isinstance(relu, nn.ReLU)
    assert convolution.kernel_size == (1, 1)
    assert convolution.bias is None
    assert convolution.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)  # fan_out


def test_without_reduce_dim_the_features_pass_unchanged():
    assert isinstance(GCPClassifier(backbone(), "isqrt_cov", num_classes=3).reduce, nn.Identity)


@pytest.mark.parametrize(("reduce_average_pooling", "inputs"), [(False, 8), (True, 4)])
def test_average_pooling_sees_unreduced_features_unless_told_otherwise(reduce_average_pooling, inputs):
    network = GCPClassifier(backbone(), "gap", num_classes=3, reduce_dim=4, reduce_average_pooling=reduce_average_pooling)
    assert network.classifier[0].in_features == inputs
    assert network(torch.randn(2, 1, 6, 6)).shape == (2, 3)


def test_only_average_pooling_is_first_order():
    assert [name for name in META_LAYERS if is_first_order(build_meta_layer(name))] == ["gap"]


def test_hidden_layers():
    network = GCPClassifier(backbone(), "isqrt_cov", num_classes=3, hidden_dims=(16, 12))
    assert [type(layer).__name__ for layer in network.classifier] == ["Linear", "ReLU", "Linear", "ReLU", "Linear"]
    sizes = [(layer.in_features, layer.out_features) for layer in network.classifier if isinstance(layer, nn.Linear)]
    assert sizes == [(36, 16), (16, 12), (12, 3)]


def test_backbone_by_name():
    network = GCPClassifier("resnet18", "gap", num_classes=5).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 32, 32)).shape == (1, 5)


def test_meta_layer_may_be_exchanged_in_mid_training():
    network = GCPClassifier(backbone(), "isqrt_cov", num_classes=3)
    before = network.state_dict().keys()
    network.meta_layer = build_meta_layer("svd_lyapunov")
    assert network.state_dict().keys() == before
    assert network(torch.randn(4, 1, 6, 6)).shape == (4, 3)


def test_unreduced_resnet_is_refused_before_memory_is_taken():
    class Wide(nn.Module):
        num_features = 2048

    with pytest.raises(OptionError, match=r"2048 channels give 2,098,176 inputs and 2,098,176,000 weights: .*reduce_dim=256"):
        GCPClassifier(Wide(), "isqrt_cov", num_classes=1000)
    assert GCPClassifier(Wide(), "gap", num_classes=1000).classifier[0].in_features == 2048


@pytest.mark.parametrize("wrong", [{"num_classes": 0}, {"reduce_dim": 0}, {"reduce_dim": -1}, {"hidden_dims": (16, 0)}])
def test_sizes_out_of_range_are_refused(wrong):
    with pytest.raises(OptionError, match=r"sizes of at least 1; got .*: change them under model"):
        GCPClassifier(backbone(), "gap", **{"num_classes": 3, **wrong})


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match=r"no meta-layer 'svd_pad'; nearest: 'svd_pade'"):
        GCPClassifier(backbone(), "svd_pad", num_classes=3)
    with pytest.raises(UnknownNameError, match=r"no backbone 'resnet49'"):
        GCPClassifier("resnet49", "gap", num_classes=3)
