"""Layers in graphs that torch.fx and torch.jit.trace record, as tools for other people's networks do."""

from __future__ import annotations

import io

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from gcp_repro.errors import OptionError
from gcp_repro.metalayers import META_LAYERS
from tests.metalayers.inputs import SMALLER, build, features_of

pytestmark = pytest.mark.filterwarnings(
    "ignore:.torch.jit.:FutureWarning", "ignore:.torch.jit.:DeprecationWarning", "ignore::torch.jit.TracerWarning"
)


def network(name, **options):
    torch.manual_seed(0)
    layer = build(name, **SMALLER.get(name, {}), **options)
    return nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(), layer, nn.Linear(layer.output_dim(4), 2)).eval()


@pytest.mark.parametrize("name", META_LAYERS)
def test_a_layer_is_one_node_of_a_graph_of_modules(name):
    net, images = network(name), features_of(3, 3, 4, 5).float()
    graph = torch.fx.symbolic_trace(net)
    assert [node.target for node in graph.graph.nodes if node.op == "call_module"] == ["0", "1", "2", "3"]
    assert torch.equal(graph(images), net(images))


def test_torchvision_finds_a_layer_by_its_name():
    net, images = network("svd_pade", heads=2, layout="nchw"), features_of(3, 3, 4, 5).float()
    found = create_feature_extractor(net, {"2": "pooled"})(images)["pooled"]
    assert torch.equal(found, net[:3](images))


@pytest.mark.parametrize("name", META_LAYERS)
def test_a_traced_network_is_saved_and_loaded_and_has_gradients(name):
    net, images = network(name), features_of(3, 3, 4, 5).float()
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(net, images[:2]), file)
    file.seek(0)
    loaded = torch.jit.load(file)
    inputs = [images.clone().requires_grad_() for _ in range(2)]
    outputs = net(inputs[0]), loaded(inputs[1])
    torch.testing.assert_close(*outputs)
    torch.testing.assert_close(*(torch.autograd.grad(o.sum(), x)[0] for o, x in zip(outputs, inputs, strict=True)))


def test_scripts_are_refused():
    with pytest.raises(OptionError, match=r"more than it knows; got svd_pade: use torch.jit.trace, .* or torch.export"):
        torch.jit.script(network("svd_pade"))
