import pytest
import torch

from gcp_repro.errors import OptionError
from gcp_repro.models import TransformersBackbone, build_backbone, replace_pooling

transformers = pytest.importorskip("transformers")

TINY = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 32}
WINDOWS = {"embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "image_size": 32, "window_size": 2}
STAGES = {"hidden_sizes": [8, 8, 8, 16], "depths": [1, 1, 1, 1]}

MODELS = [
    # kind, options, layout, tokens in front of the image's, class tokens among them, norm moved in front of the pooling
    ("ViT", {**TINY, "patch_size": 8}, "tokens", 1, 1, False),
    ("DeiT", {**TINY, "patch_size": 8}, "tokens", 2, 2, False),
    ("Beit", {**TINY, "patch_size": 8}, "tokens", 1, 1, True),
    ("Dinov2", {**TINY, "patch_size": 8}, "tokens", 1, 1, False),
    ("Dinov2WithRegisters", {**TINY, "patch_size": 8}, "tokens", 5, 1, False),
    ("Swin", WINDOWS, "tokens", 0, 0, False),
    ("Swinv2", WINDOWS, "tokens", 0, 0, False),
    ("ConvNext", STAGES, "nchw", 0, 0, True),
    ("ConvNextV2", STAGES, "nchw", 0, 0, True),
    ("ResNet", {"embedding_size": 8, **STAGES}, "nchw", 0, 0, False),
    ("MobileNetV2", {"depth_multiplier": 0.25}, "nchw", 0, 0, False),
]


def make(kind, options):
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(num_labels=5, **options)
    return getattr(transformers, f"{kind}ForImageClassification")(config).eval()


@pytest.mark.parametrize(("kind", "options", "layout", "prefix", "classes", "norm"), MODELS)
def test_image_classifiers_are_cut_at_their_last_hidden_state(kind, options, layout, prefix, classes, norm):
    network = make(kind, options)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = network.base_model(images).last_hidden_state
        tensors = {id(parameter) for parameter in network.parameters()}
        model = replace_pooling(network, "svd_lyapunov", reduce_dim=4)
        assert torch.equal(model.forward_features(images), expected)
    backbone = model.backbone
    assert (backbone.layout, backbone.num_prefix_tokens, backbone.num_class_tokens) == (layout, prefix, classes)
    assert (backbone.norm is not None) == norm
    assert all(id(parameter) in tensors for parameter in backbone.parameters())
    assert model(images).shape == (2, 5)


def test_the_norm_is_the_one_that_followed_the_average():
    network = make("ConvNext", STAGES)
    images = torch.randn(2, 3, 32, 32)
    norm = network.base_model.layernorm
    with torch.no_grad():
        torch.nn.init.normal_(norm.weight)
        state = network.base_model(images).last_hidden_state
        expected = norm(state.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        backbone = TransformersBackbone(network)
        assert torch.allclose(backbone(images), expected, atol=1e-6)
    assert backbone.norm.weight is norm.weight


def test_a_recipe_makes_the_same_network_with_other_weights():
    backbone = TransformersBackbone(make("ViT", {**TINY, "patch_size": 8}))
    (recipe,) = backbone.recipes
    other = build_backbone(recipe)
    assert repr(other) == repr(backbone)
    assert other.name == "vit"


def test_foreign_models_and_names_are_refused():
    with pytest.raises(OptionError, match="must be a model of transformers; got Linear"):
        TransformersBackbone(torch.nn.Linear(1, 1))
    with pytest.raises(OptionError, match="needs the class of a model; got 'pipeline'"):
        TransformersBackbone.from_recipe("pipeline", {})


def test_models_of_timm_inside_transformers_are_cut_as_timms():
    network = transformers.TimmWrapperForImageClassification(
        transformers.TimmWrapperConfig(architecture="test_vit", num_labels=5)
    )
    inner = network.timm_model
    model = replace_pooling(network, "gap")
    assert model.backbone.network is inner
    assert model.backbone.num_prefix_tokens == 1
    assert model(torch.randn(1, 3, 160, 160)).shape == (1, 5)
