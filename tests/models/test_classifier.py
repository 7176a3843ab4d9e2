import pytest
import torch
from torch import nn

from gcp_repro.errors import OptionError, ShapeError, UnknownNameError
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
    assert GCPClassifier(Wide(), "isqrt_cov", num_classes=1000, reduce_dim=256).classifier[0].in_features == 32896
    assert GCPClassifier(Wide(), "gap", num_classes=1000).classifier[0].in_features == 2048


@pytest.mark.parametrize("wrong", [{"reduce_dim": 0}, {"reduce_dim": -1}, {"reduce_dim": [8, 0]}, {"hidden_dims": (16, 0)}])
def test_sizes_out_of_range_are_refused(wrong):
    with pytest.raises(OptionError, match=r"sizes of at least 1; got .*: change them under model"):
        GCPClassifier(backbone(), "gap", **{"num_classes": 3, **wrong})


def test_unknown_names_are_refused():
    with pytest.raises(UnknownNameError, match=r"no meta-layer 'svd_pad'; nearest: 'svd_pade'"):
        GCPClassifier(backbone(), "svd_pad", num_classes=3)
    with pytest.raises(UnknownNameError, match=r"no backbone 'resnet49'"):
        GCPClassifier("resnet49", "gap", num_classes=3)


WRONG = [("num_classes", -1), ("class_token", "sum"), ("drop_rate", 1.0), ("reduction", "conv"), ("reduce_groups", 0)]


@pytest.mark.parametrize(("option", "value"), WRONG)
def test_other_options_out_of_range_are_refused(option, value):
    with pytest.raises(OptionError, match=f"{option} must be .*; got {value!r} for GCPClassifier"):
        GCPClassifier(backbone(), "gap", **{"num_classes": 3, option: value})


class Tokens(nn.Module):
    """Two class tokens, a register and six patches of four channels."""

    num_features, layout, num_prefix_tokens, num_class_tokens = 4, "tokens", 3, 2

    def forward(self, images):
        return images.flatten(1).view(-1, 9, 4)


def test_class_tokens_beside_the_covariance_are_one_linear_classifier_of_both():
    """So-ViT adds the scores of two classifiers, which is one of the concatenated features."""
    torch.manual_seed(0)
    network = GCPClassifier(Tokens(), "svd_lyapunov", num_classes=3, class_token="concat").double().eval()
    images = torch.randn(2, 36, dtype=torch.float64)
    tokens = images.view(2, 9, 4)
    features = torch.cat([build_meta_layer("svd_lyapunov")(tokens[:, 3:].mT), tokens[:, 0], tokens[:, 1]], dim=1)
    linear = network.classifier[0]
    weight = torch.cat([linear.weight, network.token_classifier.weight], dim=1)
    assert torch.allclose(network(images), features @ weight.T + linear.bias)
    assert torch.allclose(network.forward_head(tokens, pre_logits=True), features)
    assert network.head_hidden_size == features.shape[1] == 10 + 8


def test_class_tokens_are_dropped_unless_asked_for():
    network = GCPClassifier(Tokens(), "gap", num_classes=0).eval()
    images = torch.randn(2, 36)
    assert torch.allclose(network(images), images.view(2, 9, 4)[:, 3:].mean(1))


@pytest.mark.parametrize("layout", ["nchw", "nhwc", "tokens"])
def test_the_layout_of_the_backbone_does_not_matter(layout):
    class Maps(nn.Module):
        num_features = 6

        def __init__(self):
            super().__init__()
            self.layout = layout

        def forward(self, images):
            return {"nchw": images, "nhwc": images.permute(0, 2, 3, 1), "tokens": images.flatten(2).mT}[layout]

    torch.manual_seed(0)
    network = GCPClassifier(Maps(), "isqrt_cov", num_classes=3, reduce_dim=4).eval()
    torch.manual_seed(0)
    plain = GCPClassifier(Maps(), "isqrt_cov", num_classes=3, reduce_dim=4).eval()
    images = torch.randn(2, 6, 5, 5)
    expected = plain.classifier(plain.meta_layer(plain.reduce(images)))
    assert torch.allclose(network(images), expected, atol=1e-6)


def test_maps_that_a_bare_layer_would_refuse_are_pooled():
    class Wide(nn.Module):
        num_features, layout = 4, "nchw"

        def forward(self, images):
            return images

    images = torch.randn(1, 4, 3, 96)
    with pytest.raises(ShapeError, match="96 channels on a map of 4 x 3"):
        build_meta_layer("gap")(images)
    assert GCPClassifier(Wide(), "gap", num_classes=0)(images).shape == (1, 4)


def test_a_layer_with_a_layout_of_its_own_is_refused():
    with pytest.raises(OptionError, match=r"gets its channels second, .*got layout='tokens': leave it out of the layer"):
        GCPClassifier(Tokens(), build_meta_layer("gap", layout="tokens"), num_classes=3)


def test_heads_and_low_rank_classifiers_fit_together_or_say_why_not():
    network = GCPClassifier(backbone(), build_meta_layer("isqrt_cov", heads=4), num_classes=3)
    assert network.classifier[0].in_features == 4 * 3
    with pytest.raises(OptionError, match=r"upper triangle of one matrix.*got 12"):
        GCPClassifier(backbone(), build_meta_layer("isqrt_cov", heads=4), num_classes=3, head="low_rank_bilinear")
    low_rank = GCPClassifier(backbone(), "isqrt_cov", num_classes=3, head={"name": "low_rank_bilinear", "rank": 2})
    assert low_rank(torch.randn(2, 1, 6, 6)).shape == (2, 3)
    assert is_first_order(build_meta_layer("gap", heads=4))


def test_dropout_is_between_layer_and_classifier():
    network = GCPClassifier(backbone(), "gap", num_classes=0, drop_rate=0.5)
    images = torch.randn(64, 1, 6, 6)
    kept = network.eval()(images)
    dropped = network.train()(images)
    assert 0.4 < (dropped == 0).float().mean() < 0.6
    assert torch.isfinite(kept).all()
    assert not (kept == 0).any()
