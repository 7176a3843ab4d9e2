"""What a layer is travels with the weights, and stops those of another layer."""

from __future__ import annotations

import io

import pytest
import safetensors.torch
import torch
import torch.distributed.checkpoint
from torch import nn

from gcp_repro.errors import DataError
from gcp_repro.metalayers import META_LAYERS, build_meta_layer, is_extra_state

ALIKE = {"dtype": "float32", "route": "dense", "on_nonfinite": "propagate", "solver": "host"}
HOW = {*ALIKE, "accuracy", "float32_centering", "dropout"}
"""Options that change how the same is computed, or nothing after training."""

OTHERS = {
    "num_iterations": 3, "degree": 50, "max_gradient": 2.0, "top_n": 3, "deflate": False, "exponent": 0.3, "epsilon": 0.1,
    "forward": "log", "gradient": "svd", "scaling": "power", "projection_dim": 30, "seed": 1, "normalization": "epn",
    "num_values": 2, "eta": 0.5, "sparsity": 0.3, "step_size": 0.5, "inverse_iterations": 3,
}  # fmt: skip
"""Of other options a value that is no layer's default; those of two values have the other one."""


def _other(option, default):
    if option == "moment":
        return "covariance" if default == "second_moment" else "second_moment"
    return not default if option == "signed_root" else OTHERS[option]


DIFFERENT = [
    *[
        (name, {option: _other(option, default)})
        for name, entry in META_LAYERS.items()
        for option, default in entry.defaults.items()
        if option not in HOW
    ],
    *[("svd_pade", options) for options in ({"heads": 2}, {"correlation": True}, {"shrinkage": 0.3})],
]


def network(name, **options):
    return nn.Sequential(nn.Conv2d(3, 4, 1), build_meta_layer(name, **options), nn.LazyLinear(2))


def test_weights_go_back_into_a_network_with_the_same_layer():
    for name, entry in META_LAYERS.items():
        first = network(name)
        first(torch.rand(1, 3, 2, 3))
        saved = io.BytesIO()
        torch.save(first.state_dict(), saved)
        saved.seek(0)
        other_ways = {option: value for option, value in ALIKE.items() if option in entry.defaults}
        second = network(name, **other_ways)
        second.load_state_dict(torch.load(saved, weights_only=True))
        assert torch.equal(second[0].weight, first[0].weight)


def test_every_layer_refuses_the_state_of_every_other():
    layers = {name: build_meta_layer(name) for name in META_LAYERS}
    for name, layer in layers.items():
        for other, state in ((other, layers[other].state_dict()) for other in layers):
            if other == name:
                layer.load_state_dict(state)
            else:
                with pytest.raises(DataError, match=rf"trained with, {other}\(.*; got {name}\(.*: build that, or take"):
                    layer.load_state_dict(state)


@pytest.mark.parametrize(("name", "options"), DIFFERENT)
def test_other_options_are_another_layer(name, options):
    with pytest.raises(DataError, match=rf"{name}\(.*; got {name}\("):
        build_meta_layer(name, **options).load_state_dict(build_meta_layer(name).state_dict())


def test_both_layers_are_named_with_their_options():
    words = r"trained with, cbp\(projection_dim=8192, seed=0\); got cbp\(projection_dim=8192, seed=1\): build that"
    with pytest.raises(DataError, match=words):
        build_meta_layer("cbp", seed=1).load_state_dict(build_meta_layer("cbp").state_dict())


def test_one_layer_by_two_names_is_the_same():
    state = build_meta_layer("spectral", gradient="lyapunov").state_dict()
    build_meta_layer("svd_lyapunov").load_state_dict(state)
    build_meta_layer("spectral", forward={"name": "power", "exponent": 0.5}, gradient="lyapunov").load_state_dict(state)


def test_weights_without_a_word_on_the_layer_are_loaded():
    """Those of other packages and of earlier versions; strictly, and with nothing said to be missing."""
    first, second = network("svd_pade"), network("isqrt_cov")
    x = torch.rand(1, 3, 2, 3)
    first(x), second(x)
    weights = {name: value for name, value in first.state_dict().items() if not is_extra_state(name)}
    assert set(first.state_dict()) - set(weights) == {"1._extra_state"}
    assert second.load_state_dict(weights) == second.load_state_dict(weights, strict=False)
    assert torch.equal(second[0].weight, first[0].weight)
    with pytest.raises(RuntimeError, match="Missing key"):
        second.load_state_dict({"0.weight": weights["0.weight"]})


def test_what_takes_tensors_alone_takes_the_state(tmp_path):
    net, x = network("svd_pade"), torch.rand(1, 3, 2, 3)
    expected = net(x)
    safetensors.torch.save_file(net.state_dict(), tmp_path / "w.safetensors")
    net.load_state_dict(safetensors.torch.load_file(tmp_path / "w.safetensors"))
    assert torch.equal(torch.func.functional_call(net, net.state_dict(), x), expected)
    averaged = {name: (3 * value.double() + value) / 4 for name, value in net.state_dict().items()}
    net.load_state_dict(averaged)
    with pytest.raises(DataError, match="trained with, svd_pade"):
        network("isqrt_cov")[1].load_state_dict({"_extra_state": averaged["1._extra_state"]})


@pytest.mark.parametrize("state", [torch.ones(3), torch.tensor([123, 125], dtype=torch.uint8), "svd_pade"], ids=str)
def test_a_state_that_cannot_be_read(state):
    with pytest.raises(DataError, match=r"holds its name and options as bytes; got .* that cannot be read .*: take it out"):
        build_meta_layer("svd_pade").load_state_dict({"_extra_state": state})


def test_on_the_meta_device_too():
    with torch.device("meta"):
        layer = build_meta_layer("svd_pade")
        assert layer.state_dict()["_extra_state"].device.type == "cpu"
    layer.load_state_dict(build_meta_layer("svd_pade").state_dict())


@pytest.mark.filterwarnings("ignore:torch.distributed is (disabled, )?unavailable or uninitialized")
def test_distributed_checkpoints_too(tmp_path):
    """They are read into tensors of the reader's size, before a layer sees them."""
    checkpoint = torch.distributed.checkpoint
    state = build_meta_layer("svd_pade").state_dict()
    checkpoint.save(state, checkpoint_id=tmp_path)
    for name in ("svd_pade", "cross_covariance"):
        layer = build_meta_layer(name)
        own = layer.state_dict()
        checkpoint.load(own, checkpoint_id=tmp_path)
        assert torch.equal(own["_extra_state"], state["_extra_state"])
    with pytest.raises(DataError, match="trained with, svd_pade"):
        layer.load_state_dict(own)
