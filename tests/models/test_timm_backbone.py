import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from gcp_repro.errors import DataError, OptionError, ShapeError, UnknownNameError
from gcp_repro.models import TimmBackbone
from tests.models.networks import SMALL_TIMM, images_for, untrained


@pytest.mark.parametrize(("last_stride", "side"), [(2, 2), (1, 4)])
def test_resnet_gives_a_map_of_features(last_stride, side):
    backbone = TimmBackbone("resnet50", last_stride=last_stride).eval()
    with torch.no_grad():
        assert backbone(torch.zeros(1, 3, 64, 64)).shape == (1, 2048, side, side)
    assert backbone.num_features == 2048


def test_in_channels_and_other_options_reach_timm():
    backbone = TimmBackbone("resnet18", in_channels=1, zero_init_last=False)
    assert backbone.network.conv1.in_channels == 1
    assert backbone.network.layer1[0].bn2.weight.unique().tolist() == [1.0]


def test_last_stride_is_for_resnets():
    with pytest.raises(OptionError, match=r"last_stride needs 2, or 1 for a ResNet; got 1 for 'vgg11'"):
        TimmBackbone("vgg11", last_stride=1)
    with pytest.raises(OptionError, match=r"got 3 for 'resnet18'"):
        TimmBackbone("resnet18", last_stride=3)


@pytest.mark.parametrize(("name", "options", "layout", "prefix", "classes", "norm"), SMALL_TIMM)
def test_a_backbone_says_what_its_features_are(name, options, layout, prefix, classes, norm):
    backbone = TimmBackbone(name, **options).eval()
    assert (backbone.layout, backbone.num_prefix_tokens, backbone.num_class_tokens) == (layout, prefix, classes)
    assert (backbone.norm is not None) == norm
    images = images_for(backbone.network)
    with torch.no_grad():
        raw, features = backbone.forward_features(images), backbone(images)
    assert features.shape == raw.shape
    assert features.shape[1 if layout == "nchw" else -1] == backbone.num_features
    assert torch.equal(raw, features) != norm


def test_nothing_is_left_that_training_would_not_reach():
    """Heads that widen the features (VGG, MobileNet, MambaOut) and norms that moved leave no weights behind."""
    for name in ("test_convnext", "test_mambaout", "mobilenetv3_small_050"):
        backbone = TimmBackbone(name)
        assert untrained(backbone, torch.randn(2, 3, 32, 32)) == [], name


def test_zero_init_last_is_for_models_that_have_it():
    assert TimmBackbone("test_convnext", zero_init_last=False).num_features == 64
    assert TimmBackbone("test_resnet", zero_init_last=True).network.layer1[0].bn2.weight.unique().tolist() == [0.0]
    with pytest.raises(TypeError, match="no_such_option"):
        TimmBackbone("test_resnet", zero_init_last=False, no_such_option=1)


@pytest.mark.parametrize(("name", "message"), [("pit_ti_224", "pooling needs tokens of the image"), ("coat_tiny", "a list of 3")])
def test_models_without_one_map_at_their_end_are_refused(name, message):
    with torch.device("meta"), pytest.raises(ShapeError, match=f"{message}.*choose a network"):
        TimmBackbone(name)


def test_unknown_model_gets_the_nearest_names():
    with pytest.raises(UnknownNameError, match=r"no timm model 'resnet-50'; nearest: .*'resnet50'"):
        TimmBackbone("resnet-50")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"state_dict": weights, "epoch": 3},
        lambda weights: {"model": {f"module.{name}": value for name, value in weights.items()}},
    ],
)
def test_checkpoint_of_a_whole_model_is_loaded(tmp_path, wrap):
    whole = timm.create_model("resnet18").eval()
    torch.save(wrap(whole.state_dict()), tmp_path / "resnet18.pt")
    backbone = TimmBackbone("resnet18", checkpoint=tmp_path / "resnet18.pt").eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(backbone(images), whole.forward_features(images))


def test_checkpoint_of_safetensors_as_timm_publishes_them(tmp_path):
    weights = timm.create_model("resnet18").state_dict()
    save_file(weights, tmp_path / "model.safetensors")
    network = TimmBackbone("resnet18", checkpoint=tmp_path / "model.safetensors").network
    assert torch.equal(network.layer4[1].conv2.weight, weights["layer4.1.conv2.weight"])


def test_checkpoint_from_before_the_counters_of_batch_norm(tmp_path):
    weights = timm.create_model("resnet18").state_dict()
    torch.save({key: value for key, value in weights.items() if "num_batches" not in key}, tmp_path / "resnet18.pt")
    network = TimmBackbone("resnet18", checkpoint=tmp_path / "resnet18.pt").network
    assert torch.equal(network.layer4[1].conv2.weight, weights["layer4.1.conv2.weight"])


def test_missing_checkpoint_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"needs to be a file; .*none.pt is none: correct model.backbone.checkpoint"):
        TimmBackbone("resnet18", checkpoint=tmp_path / "none.pt")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"needs to be a file of torch\.save; reading .*w\.pt gave EOFError"),
        (b"<html>not found</html>", r"the content of .*w\.pt is needed; in its place is a web page: .* fetch the file again"),
        (b"not a model", r"needs to be a file of torch\.save; reading .*w\.pt gave .*: get it again, or save"),
        ([1, 2], r"needs a dictionary of tensors; .*w\.pt holds a list: save model\.state_dict"),
        ({"epoch": 3}, r"needs tensors alone; that in .*w\.pt holds others, as 'epoch'"),
        (
            nn.Linear(1, 1),
            r"needs the code of torch\.nn\.modules\.linear\.Linear, and reading it could run any code: if you trust",
        ),
    ],
    ids=["empty", "a page", "text", "list", "no weights", "whole network"],
)
def test_damaged_and_foreign_checkpoints_are_explained(tmp_path, content, message):
    path = tmp_path / "w.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(DataError, match=message):
        TimmBackbone("resnet18", checkpoint=path)


def test_checkpoint_of_another_model_is_refused(tmp_path):
    torch.save(timm.create_model("resnet34").state_dict(), tmp_path / "resnet34.pt")
    with pytest.raises(DataError, match=r"weights of ResNet; .* 0 of 120 are missing .* 96 are unknown \(layer1.2.conv1"):
        TimmBackbone("resnet18", checkpoint=tmp_path / "resnet34.pt")
