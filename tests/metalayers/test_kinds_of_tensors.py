"""Tensors without data, and tensors that are spread over processes."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch._subclasses import FakeTensorMode

from gcp_repro.linalg import matrix_sqrt
from gcp_repro.metalayers import META_LAYERS
from tests.metalayers.inputs import PRECISE, VARIANTS, build, features_of, gradient_of


@pytest.mark.parametrize(("name", "options"), [*VARIANTS, *PRECISE])
def test_fake_tensors_have_shapes_and_leave_nothing_behind(name, options):
    """What is kept between calls must be neither theirs nor given to them; a size that no other test has."""
    layer = build(name, **options)
    for _ in range(2):
        with FakeTensorMode():
            output, gradient = gradient_of_fake(layer, torch.empty(2, 29, 3, 4, requires_grad=True))
            assert output.shape == (2, layer.output_dim(29))
            assert gradient.shape == (2, 29, 3, 4)
        output, gradient = gradient_of(layer, features_of(2, 29, 3, 4))
        assert type(output) is type(gradient) is torch.Tensor
        assert output.isfinite().all()


def gradient_of_fake(layer, features):
    output = layer(features)
    return output, torch.autograd.grad(output.sum(), features)[0]


@pytest.mark.parametrize(("name", "options"), [*VARIANTS, *PRECISE])
def test_with_the_meta_device_as_default(name, options):
    """Layers can be built and used under it; tensors keep their own device."""
    with torch.device("meta"):
        layer = build(name, **options)
        features = torch.rand(2, 27, 3, 4, requires_grad=True)
        output, gradient = gradient_of_fake(layer, features)
        assert output.is_meta
        assert gradient.is_meta
        real = layer(torch.ones(2, 27, 3, 4, device="cpu"))
    assert real.device.type == "cpu"
    torch.testing.assert_close(real, layer(torch.ones(2, 27, 3, 4)))


def test_functions_of_fake_matrices():
    with FakeTensorMode():
        cov = torch.empty(2, 5, 5, requires_grad=True)
        (gradient,) = torch.autograd.grad(matrix_sqrt(cov).sum(), cov)
        assert gradient.shape == (2, 5, 5)


@pytest.mark.parametrize("name", META_LAYERS)
def test_functional_tensors_leave_nothing_behind(name):
    layer, features = build(name), features_of(2, 26, 3, 4)  # a size that no other test has
    torch.testing.assert_close(torch.func.functionalize(layer)(features), layer(features), rtol=0, atol=0)


SPREAD = """
import torch, torch.distributed as dist
from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh
from gcp_repro.errors import ShapeError
from gcp_repro.metalayers import META_LAYERS, build_meta_layer
dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
mesh = init_device_mesh("cpu", (1,))
for name in META_LAYERS:
    layer, features = build_meta_layer(name).eval(), torch.rand(3, 4, 2, 3, dtype=torch.float64)
    expected = features.clone().requires_grad_()
    layer(expected).sum().backward()
    for placement in (Shard(0), Replicate()):
        spread = distribute_tensor(features, mesh, [placement]).requires_grad_()
        output = layer(spread)
        assert output.placements == (placement,) and output.shape == (3, layer.output_dim(4))
        torch.testing.assert_close(output.full_tensor(), layer(features))
        output.sum().backward()
        torch.testing.assert_close(spread.grad.full_tensor(), expected.grad)
layer = build_meta_layer("svd_pade")
compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
spread = distribute_tensor(features, mesh, [Shard(0)]).requires_grad_()
output = compiled(spread)
assert output.placements == (Shard(0),)
torch.testing.assert_close(output.full_tensor(), layer(features))
output.sum().backward()
assert spread.grad.placements == (Shard(0),)
try:
    layer(distribute_tensor(features, mesh, [Shard(1)]))
except ShapeError as error:
    print(error)
dist.destroy_process_group()
"""


def test_features_that_are_spread_along_the_batch():
    """In a process of its own: a process group is for a whole process."""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", SPREAD], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "need whole images on each; got placements (Shard(dim=1),): redistribute them to Shard(0)" in done.stdout


@pytest.mark.parametrize("name", META_LAYERS)
def test_training_after_a_first_pass_in_inference_mode(name):
    """Index tensors that are kept between calls must not be those of inference mode."""
    layer, x = build(name), features_of(2, 23, 9)  # a size that no other test has
    with torch.inference_mode():
        layer(x)
    assert gradient_of(layer, x)[1].isfinite().all()
