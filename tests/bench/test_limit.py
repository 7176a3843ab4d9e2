import pytest
import torch

from gcp_repro.bench.limit import Limit
from gcp_repro.bench.timing import Trial


@pytest.mark.parametrize("size", [(5, 6, 2, 2), (5, 3, 4, 4)], ids=["by positions", "by channels"])
@pytest.mark.parametrize(
    ("dtype", "product_dtype"), [(torch.float64, None), (torch.float32, None), (torch.float64, torch.float32)], ids=str
)
def test_the_limit_does_the_work_of_the_gram_route(size, dtype, product_dtype):
    features = torch.randn(size).relu()
    limit = Limit(features, dtype, product_dtype)
    limit.run_forward()
    x = features.flatten(2).to(dtype)
    x = (x - x.mean(-1, keepdim=True)) * x.shape[-1] ** -0.5
    positions, channels = x.shape[-1], x.shape[-2]
    by_positions = positions < channels
    _, v = torch.linalg.eigh(x.mT @ x if by_positions else x @ x.mT)
    u = x @ v if by_positions else v
    x, v, u = (part.to(product_dtype or dtype) for part in (x, v, u))

    torch.testing.assert_close(limit.square, u @ u.mT)

    limit.run_backward()
    left = u @ (u.mT @ limit.g @ u)
    torch.testing.assert_close(limit.gradient, left @ (v.mT if by_positions else u.mT @ x))


def test_the_limit_passes_for_a_layer():
    features = torch.randn(2, 4, 3, 3)
    limit = Limit(features, torch.float64)
    sample = Trial(limit, features, torch.ones).run()
    assert limit(features).shape == (2, 1)
    assert sample.total > 0
