"""What is spread over processes how; that training is the same is seen in test_several_processes.py."""

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor

from gcp_repro.models import GCPClassifier
from gcp_repro.training.processes import sharding
from gcp_repro.training.processes.sharding import local_part, shard, strategy_of


class Backbone(nn.Module):
    num_features = 4

    def __init__(self):
        super().__init__()
        self.blocks = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 3, padding=1))

    def forward(self, images):
        return self.blocks(images)


@pytest.fixture
def mesh(tmp_path):
    """A group of one process."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield init_device_mesh("cpu", (1,))
    torch.distributed.destroy_process_group()


def test_parts_and_large_blocks_are_gathered_by_themselves(mesh, monkeypatch):
    monkeypatch.setattr(sharding, "SMALLEST_BLOCK", 100)
    network = GCPClassifier(Backbone(), "isqrt_cov", 5, reduce_dim=2)
    images = torch.randn(2, 3, 6, 6)
    expected = network(images)
    shard(network, mesh)
    units = [name for name, module in network.named_modules() if hasattr(module, "unshard")]
    assert units == ["", "backbone", "backbone.blocks.1", "reduce", "classifier"]
    assert all(isinstance(parameter, DTensor) for parameter in network.parameters())
    torch.testing.assert_close(network(images), expected)
    assert torch.equal(local_part(next(network.parameters())), next(network.parameters()).full_tensor())


def test_other_strategies_are_lightnings():
    assert strategy_of("ddp") == "ddp"
    assert isinstance(strategy_of("fsdp"), sharding.ShardedStrategy)
    weight = torch.ones(2)
    assert local_part(weight) is weight
