import json

import pytest
import timm
import torch
from torch import nn

from gcp_repro.errors import DataError, OptionError, UnknownNameError
from gcp_repro.linalg import covariance, upper_triangle
from gcp_repro.linalg.pooling import operators_for
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.weights import import_weights
from tests.tolerances import rounding
from tests.weights.foreign import CLASSES, foreign_alexnet, foreign_resnet, named_resnet

ALEXNET = ["model.hidden_dims=[6,6]"]


@pytest.fixture
def save(tmp_path):
    def save_as(content, name="weights.pth.tar"):
        torch.save(content, tmp_path / name)
        return tmp_path / name

    return save_as


def checkpoint(network, arch):
    return {"epoch": 30, "arch": arch, "state_dict": network.state_dict(), "best_prec1": torch.tensor(61.5), "optimizer": {}}


def assert_equal_scores(network, converted, size=96):
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        expected, scores = network(images), converted.network().eval()(images)
    assert expected.abs().max() > 0.01
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "arch", "layout", "overrides"),
    [
        (foreign_alexnet, "alexnet", "sequential", ALEXNET),
        (foreign_resnet, "resnet50", "sequential", []),
        (named_resnet, "mpncovresnet50", "named", []),
    ],
)
def test_scores_are_those_of_the_foreign_network(save, make, arch, layout, overrides):
    network = make()
    converted = import_weights(
        save(checkpoint(network, arch)), arch, "svd_pade", num_classes=CLASSES, arithmetic="exact", overrides=overrides
    )
    assert converted.layout.name == layout
    assert_equal_scores(network, converted)


def test_dropcov_networks_have_an_attention_that_no_score_depends_on(save, monkeypatch):
    """`nn.DataParallel` over all, `best_acc1`, and weights that only training uses."""

    def covariance_of(features):
        return upper_triangle(covariance(features.flatten(2).double())).float()

    monkeypatch.setattr("tests.weights.foreign.root", covariance_of)
    network = named_resnet()
    state = {f"module.{name}": value for name, value in network.state_dict().items()}
    state["module.eca_layer.conv.weight"] = torch.randn(1, 1, 3)
    path = save({"epoch": 30, "arch": "resnet50_ACD", "state_dict": state, "best_acc1": torch.tensor(61.5)})
    converted = import_weights(path, meta_layer="dropcov")
    assert (converted.architecture, converted.layout.name) == ("resnet50_ACD", "named")
    assert converted.provenance()["best_top1_accuracy"] == 61.5
    assert_equal_scores(network, converted)
    assert not any("dropout" in name for name in converted.state)


@pytest.mark.parametrize("arithmetic", ["auto", "exact"])
@pytest.mark.parametrize(("name", "shift"), [("pow_tmlr", 1.0), ("scale_pow_emlr", 0.0)])
def test_riemgcp_networks_have_an_identity_beside_their_weights(save, monkeypatch, arithmetic, name, shift):
    """Five Newton-Schulz steps, whatever the layer's default."""

    def scaled_root(features):
        root = build_meta_layer("isqrt_cov")(features.double())
        return (2 * (root - shift * upper_triangle(torch.eye(8)))).float()

    monkeypatch.setattr("tests.weights.foreign.root", scaled_root)
    network = foreign_resnet()
    content = checkpoint(network, "resnet50")
    content["state_dict"]["representation.I"] = torch.eye(8, dtype=torch.float64)
    converted = import_weights(save(content), meta_layer=name, arithmetic=arithmetic)
    assert converted.arithmetic == ("RiemGCP" if arithmetic == "auto" else "exact")
    assert converted.network().meta_layer.spec.float32_centering == (arithmetic == "auto")
    assert_equal_scores(network, converted)


def test_arithmetics_differ_by_their_rounding(save):
    """Rounding the centring matrix leaves a spurious eigenvalue where there are more channels (64) than positions (49)."""
    path = save(foreign_alexnet(reduce_dim=64).state_dict())
    features = torch.rand(2, 64, 7, 7)
    pooled = {
        (layer, arithmetic): import_weights(path, "alexnet", layer, arithmetic=arithmetic, overrides=ALEXNET)
        .network()
        .meta_layer(features)
        for layer in ("svd_pade", "isqrt_cov")
        for arithmetic in ("DifferentiableSVD", "fast-MPN-COV", "exact")
        if (layer, arithmetic) != ("svd_pade", "fast-MPN-COV")
    }
    in_float32 = rounding(64, dtype=torch.float32)
    assert 1e-6 < (pooled["svd_pade", "DifferentiableSVD"] - pooled["svd_pade", "exact"]).abs().max() < in_float32**0.5
    assert 0 < (pooled["isqrt_cov", "DifferentiableSVD"] - pooled["isqrt_cov", "exact"]).abs().max() < in_float32
    assert 0 < (pooled["isqrt_cov", "fast-MPN-COV"] - pooled["isqrt_cov", "exact"]).abs().max() < in_float32


@pytest.mark.parametrize("name", ["mpn_cov", "svd_newton", "svd_trunc", "svd_topn", "svd_taylor", "svd_power_iteration", "seb"])
def test_every_decomposing_layer_of_the_code_base_has_its_arithmetic(save, name):
    converted = import_weights(save(foreign_alexnet().state_dict()), "alexnet", name, overrides=ALEXNET)
    layer = converted.network().meta_layer
    assert (layer.spec.float32_centering, layer.spec.route, layer.spec.dtype) == (True, "dense", "float64")
    assert (converted.meta_layer, converted.arithmetic) == (name, "DifferentiableSVD")


def test_topn_keeps_all_but_fifty_eigenvalues_as_the_code_does(save):
    path = save(foreign_alexnet(reduce_dim=64).state_dict())
    assert import_weights(path, "alexnet", "svd_topn", overrides=ALEXNET).config.meta_layer.top_n == 14


def test_a_newton_schulz_network_of_fast_mpn_cov_is_computed_in_float32(save):
    converted = import_weights(save(checkpoint(foreign_resnet(), "resnet50")))
    assert converted.arithmetic == "fast-MPN-COV" == converted.provenance()["arithmetic"]
    layer = converted.network().meta_layer
    assert layer.spec.dtype == "float32"
    assert [type(operator).__name__ for operator in operators_for(layer.spec, 8).values()] == ["AuthorsNewtonSchulz"]


@pytest.mark.parametrize(
    "wrapped",
    [lambda name: f"module.{name}", lambda name: name.replace("features.", "features.module."), lambda name: name],
    ids=["whole network", "features", "none"],
)
def test_data_parallel_leaves_no_trace(save, wrapped):
    state = foreign_alexnet().state_dict()
    converted = import_weights(save({wrapped(name): value for name, value in state.items()}), "alexnet", overrides=ALEXNET)
    assert torch.equal(converted.state["backbone.features.4.weight"], state["features.4.weight"])


def test_finetuned_networks_keep_the_reduction_among_the_features(save):
    state = foreign_resnet().state_dict()
    for before, after in (("representation.conv_dr_block.0", "features.8"), ("representation.conv_dr_block.1", "features.9")):
        state = {name.replace(before, after): value for name, value in state.items()}
    converted = import_weights(save(state), "resnet50")
    assert converted.layout.name == "finetuned"
    assert torch.equal(converted.state["reduce.0.weight"], state["features.8.weight"])


def test_networks_finetuned_from_vanilla_weights_have_no_reduction(save):
    network = foreign_resnet()
    state = {name: value for name, value in network.state_dict().items() if "conv_dr_block" not in name}
    state["classifier.weight"] = torch.zeros(CLASSES, 2048 * 2049 // 2)
    converted = import_weights(save(state), "resnet50", "svd_pade")
    assert converted.config.model.reduce_dim is None
    assert isinstance(converted.network().reduce, nn.Identity)


def test_finetuned_alexnet_has_one_linear_layer(save):
    network = foreign_alexnet()
    network.classifier = nn.Linear(36, CLASSES)
    converted = import_weights(save(network.state_dict()), "alexnet", "svd_pade", arithmetic="exact")
    assert converted.layout.name == "finetuned"
    assert_equal_scores(network, converted)


def test_files_from_before_the_counters_of_batch_norm(save):
    state = {name: value for name, value in foreign_alexnet().state_dict().items() if "num_batches" not in name}
    assert import_weights(save(state), "alexnet", overrides=ALEXNET).state["reduce.1.num_batches_tracked"] == 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_another_precision_are_converted(save, dtype):
    state = foreign_alexnet().state_dict()
    stored = {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}
    converted = import_weights(save(stored), "alexnet", overrides=ALEXNET)
    weight = converted.state["backbone.features.4.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, state["features.4.weight"].to(dtype).float())


def test_tensors_that_are_no_weights(save):
    state = foreign_alexnet().state_dict()
    state["features.0.bias"] = torch.zeros(64, dtype=torch.int8)
    state["features.4.bias"] = torch.zeros(192, device="meta")
    state["features.1.bias"] = torch.full((64,), torch.nan)
    with pytest.raises(DataError) as error:
        import_weights(save(state), "alexnet", overrides=ALEXNET)
    assert (
        "  not dense floating point (2):\n    features.0.bias (64,), torch.int8\n    features.4.bias (192,), torch.float32\n"
        "  with NaN or infinity (1):\n    features.1.bias (64,)\n"
    ) in str(error.value)


def test_scalars_where_matrices_should_be(save):
    names = ("representation.conv_dr_block.0.weight", "classifier.4.weight")
    state = {**foreign_alexnet().state_dict(), **dict.fromkeys(names, torch.tensor(1.0))}
    with pytest.raises(DataError, match=r"classifier.4.weight \(\), needs \(1, 6\)"):
        import_weights(save(state), "alexnet", overrides=ALEXNET)


def test_vanilla_resnets_of_timm_and_torchvision(save):
    network = timm.create_model("resnet18", num_classes=5).eval()
    nn.init.normal_(network.fc.weight)
    converted = import_weights(save(network.state_dict()), "resnet18", "gap")
    assert converted.num_classes == 5
    assert_equal_scores(network, converted, size=64)


def test_what_the_file_says_is_kept(save):
    converted = import_weights(save(checkpoint(foreign_alexnet(), "alexnet")), overrides=ALEXNET)
    assert (converted.architecture, converted.num_classes) == ("alexnet", CLASSES)
    record = converted.provenance()
    assert (record["epochs"], record["best_top1_accuracy"], record["layout"]) == (30, 61.5, "sequential")
    assert len(record["sha256"]) == 64


def test_data_follow_from_the_number_of_classes(save):
    network = timm.create_model("resnet18", num_classes=200)
    converted = import_weights(save(network.state_dict()), "resnet18", "gap")
    assert converted.config.data.dataset == "birds"
    converted = import_weights(save(network.state_dict()), "resnet18", "gap", overrides=["data=imagenet"])
    assert converted.config.data.dataset == "imagenet"
    other = timm.create_model("resnet18", num_classes=7)
    assert import_weights(save(other.state_dict()), "resnet18", "gap").config.data.dataset == "image_folder"


def test_the_run_directory_says_where_the_weights_are_from(save, tmp_path):
    converted = import_weights(save(checkpoint(foreign_alexnet(), "alexnet")), meta_layer="svd_pade", overrides=ALEXNET)
    converted.write_run(tmp_path / "run")
    assert json.loads((tmp_path / "run" / "import.json").read_text()) == converted.provenance()
    state = torch.load(tmp_path / "run" / "checkpoints" / "last.ckpt", weights_only=True)
    assert state["epoch"] == 29
    assert set(state["state_dict"]) == {f"network.{name}" for name in converted.state}
    with pytest.raises(OptionError, match=r"needs a directory of its own; .*run already holds a run: choose another --output"):
        converted.write_run(tmp_path / "run")


def test_everything_that_does_not_fit_is_listed_at_once(save):
    state = foreign_alexnet().state_dict()
    del state["features.4.bias"]
    state["features.0.weight"] = torch.zeros(64, 3, 7, 7)
    state["classifier.9.weight"] = torch.zeros(CLASSES, 1)
    state["head"] = torch.zeros(2)
    with pytest.raises(DataError) as error:
        import_weights(save(state), "alexnet", num_classes=4, overrides=ALEXNET)
    assert str(error.value).split("differ:\n")[1] == (
        "  missing (1):\n    features.4.bias (192,)\n"
        "  unexpected (2):\n    classifier.9.weight (3, 1)\n    head (2,)\n"
        "  wrong shape (3):\n    features.0.weight (64, 3, 7, 7), needs (64, 3, 11, 11)\n"
        "    classifier.4.weight (3, 6), needs (4, 6)\n    classifier.4.bias (3,), needs (4,)\n"
        "pass the architecture, meta-layer and number of classes that the file was trained with; this is DifferentiableSVD's "
        "AlexNet, with batch norm; torchvision's and fast-MPN-COV's have none and do not fit"
    )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, OptionError, r"needs the architecture; .* does not say it: pass --architecture, one of alexnet, resnet18"),
        ({"architecture": "resnet"}, UnknownNameError, "no architecture 'resnet'; nearest: 'resnet50'"),
        ({"architecture": "resnet18", "meta_layer": "svd_pad"}, UnknownNameError, "no meta-layer 'svd_pad'; nearest: 'svd_pade'"),
        ({"architecture": "resnet18", "meta_layer": "cbp"}, OptionError, "a square root of the covariance, .*; got 'cbp'"),
        ({"architecture": "resnet18", "arithmetic": "exakt"}, UnknownNameError, "no arithmetic 'exakt'; nearest: 'exact'"),
    ],
)
def test_wrong_options(save, options, error, message):
    with pytest.raises(error, match=message):
        import_weights(save({"fc.weight": torch.zeros(1)}), **options)


def test_the_files_own_architecture_must_be_asked_for(save):
    """Strides leave no trace in the shapes, so nothing else would notice."""
    path = save({"arch": "resnet50", "state_dict": {"fc.weight": torch.zeros(1)}})
    with pytest.raises(OptionError, match=r"says 'resnet50', got 'mpncovresnet50': leave the option out"):
        import_weights(path, "mpncovresnet50")
