import json
import shutil
from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from gcp_repro.errors import OptionError
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.metalayers.average_pooling import GlobalAveragePooling
from gcp_repro.models import AlexNetBN, ConvStage, GCPClassifier, NarrowAlexNet, TimmBackbone, replace_pooling
from gcp_repro.models import hub as hub_module
from gcp_repro.models.hub import recipe_of
from tests.models.networks import images_for, small_timm


def same(first, second, images):
    assert first.state_dict().keys() == second.state_dict().keys()
    assert all(torch.equal(value, second.state_dict()[name]) for name, value in first.state_dict().items())
    with torch.no_grad():
        assert torch.equal(first.eval()(images), second.eval()(images))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("test_resnet", {}),
        ("test_convnext", {}),
        ("test_vit", {}),
        ("test_vit", {"img_size": 64}),
        ("test_resnet", {"in_chans": 1}),
    ],
)
def test_a_folder_gives_the_same_network_back(tmp_path, name, options):
    network = small_timm(name, options)
    images = images_for(network)[:, : options.get("in_chans", 3)]
    model = replace_pooling(network, build_meta_layer("svd_taylor", degree=7), reduce_dim=4, class_token="concat")
    model.save_pretrained(tmp_path)
    loaded = GCPClassifier.from_pretrained(tmp_path)
    assert not loaded.training
    same(model, loaded, images)
    assert (loaded.meta_layer.name, loaded.meta_layer.options) == ("svd_taylor", {"degree": 7})


@pytest.mark.parametrize(
    "make",
    [
        lambda: GCPClassifier(TimmBackbone("resnet18", last_stride=1, zero_init_last=False), "isqrt_cov", 3, reduce_dim=[16, 4]),
        lambda: GCPClassifier(NarrowAlexNet([ConvStage(8, 3, pool=2)]), "gap", 3, hidden_dims=(5,), drop_rate=0.2),
        lambda: GCPClassifier(AlexNetBN(), "isqrt_cov", 3, reduce_dim=4, head={"name": "low_rank_bilinear", "rank": 2}),
        lambda: replace_pooling(
            torchvision.models.squeezenet1_0(num_classes=3), build_meta_layer("isqrt_cov", heads=2), reduce_dim=4
        ),
        lambda: replace_pooling(small_timm("test_resnet", {}), "gap", num_classes=0),
    ],
    ids=["timm by name", "narrow", "alexnet", "torchvision", "no classes"],
)
def test_every_kind_of_backbone_and_head(tmp_path, make):
    model = make()
    model.save_pretrained(tmp_path)
    same(model, GCPClassifier.from_pretrained(tmp_path), torch.randn(2, 3, 64, 64))


def test_transformers_models(tmp_path):
    transformers = pytest.importorskip("transformers")
    config = transformers.ResNetConfig(embedding_size=8, hidden_sizes=[8, 8, 8, 16], depths=[1, 1, 1, 1], num_labels=3)
    model = replace_pooling(transformers.ResNetForImageClassification(config), "isqrt_cov")
    model.save_pretrained(tmp_path)
    same(model, GCPClassifier.from_pretrained(tmp_path), torch.randn(2, 3, 64, 64))


def test_what_is_saved_is_what_the_network_is_by_then(tmp_path):
    model = replace_pooling(small_timm("test_resnet", {}), "isqrt_cov", reduce_dim=4)
    model.reset_classifier(7, "svd_lyapunov")
    model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["num_classes"], config["meta_layer"]) == (7, {"name": "svd_lyapunov"})
    assert config["backbone"] == {"library": "timm", "name": "test_resnet", "in_channels": 3}
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert "library_name: gcp_repro" in (tmp_path / "README.md").read_text()


@pytest.mark.parametrize(("first", "second"), [("isqrt_cov", "gap"), ("gap", "isqrt_cov")])
def test_a_reduction_goes_with_the_layer_that_it_was_made_for(tmp_path, first, second):
    """Average pooling is not reduced by default, so one of these networks has a reduction, and the other has none."""
    model = GCPClassifier(NarrowAlexNet([ConvStage(8, 3)]), first, 3, reduce_dim=4)
    model.reset_classifier(5, second)
    model.save_pretrained(tmp_path)
    same(model, GCPClassifier.from_pretrained(tmp_path), torch.randn(2, 3, 8, 8))


class Own(nn.Module):
    num_features = 4

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)

    def forward(self, images):
        return self.conv(images)


def test_parts_of_ones_own_are_given_when_loading(tmp_path):
    model = GCPClassifier(Own(), GlobalAveragePooling(), 3)
    with pytest.warns(
        UserWarning, match=r"but for its backbone and meta_layer, .*from_pretrained\(..., backbone=..., meta_layer=...\)"
    ):
        model.save_pretrained(tmp_path)
    with pytest.raises(
        OptionError, match=r"loading needs backbone, meta_layer; .*pass backbone=..., meta_layer=... to from_pretrained"
    ):
        GCPClassifier.from_pretrained(tmp_path)
    loaded = GCPClassifier.from_pretrained(tmp_path, backbone=Own(), meta_layer=GlobalAveragePooling())
    same(model, loaded, torch.randn(2, 3, 8, 8))


def test_a_network_that_differs_from_its_name_has_no_recipe():
    assert recipe_of(TimmBackbone("test_resnet")) == {
        "library": "timm",
        "name": "test_resnet",
        "in_channels": 3,
        "last_stride": 2,
    }
    strided = TimmBackbone("resnet18")
    strided.network.conv1.stride = (1, 1)
    assert recipe_of(strided) is None
    wider = TimmBackbone("test_resnet")
    wider.network.conv1 = nn.Identity()
    assert recipe_of(wider) is None


def test_a_configuration_cannot_read_other_files(tmp_path):
    GCPClassifier(TimmBackbone("test_resnet"), "gap", 3).save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"in_channels": 3', '"in_channels": 3, "checkpoint_path": "elsewhere.pth"'))
    with pytest.raises(OptionError, match=r"its own weights alone; .* has backbone.checkpoint_path, which reads others"):
        GCPClassifier.from_pretrained(tmp_path)


def test_weights_that_are_missing_are_an_error(tmp_path):
    model = GCPClassifier(NarrowAlexNet([ConvStage(8, 3)]), "gap", 3)
    model.save_pretrained(tmp_path)
    config = tmp_path / "config.json"
    config.write_text(config.read_text().replace('"num_classes": 3', '"num_classes": 4'))
    with pytest.raises(RuntimeError, match="size mismatch"):
        GCPClassifier.from_pretrained(tmp_path)


def test_push_and_pull(tmp_path, monkeypatch):
    """The hub, as a folder: uploads are copied into it, downloads come out of it."""
    hub = tmp_path / "hub"

    def create_repo(self, repo_id, **options):
        (hub / repo_id).mkdir(parents=True, exist_ok=True)
        return type("Url", (), {"repo_id": repo_id})

    def upload_folder(self, *, repo_id, folder_path, **options):
        shutil.copytree(folder_path, hub / repo_id, dirs_exist_ok=True)
        return f"commit to {repo_id}"

    def download(repo_id, filename, **options):
        return str(hub / repo_id / filename)

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.create_repo", create_repo)
    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi.upload_folder", upload_folder)
    monkeypatch.setattr("huggingface_hub.hub_mixin.hf_hub_download", lambda **options: download(**options))
    monkeypatch.setattr(hub_module, "hf_hub_download", download)
    model = replace_pooling(small_timm("test_resnet", {}), "isqrt_cov", reduce_dim=4)
    assert model.push_to_hub("someone/gcp-test") == "commit to someone/gcp-test"
    assert sorted(path.name for path in Path(hub / "someone/gcp-test").iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    same(model, GCPClassifier.from_pretrained("someone/gcp-test"), torch.randn(2, 3, 64, 64))
