import pytest
import torch
from torch._subclasses import FakeTensorMode

from gcp_repro.linalg.machinery.caches import keep_tensors


@pytest.mark.filterwarnings("ignore:.torch.jit.:FutureWarning", "ignore:.torch.jit.:DeprecationWarning")
def test_tensors_are_kept_but_for_those_of_a_mode_or_of_inference():
    made = []

    @keep_tensors(maxsize=4)
    def ones(size, device):
        made.append(size)
        return torch.tensor([1.0] * size, device=device)

    cpu = torch.device("cpu")
    with FakeTensorMode():
        assert type(ones(3, cpu)) is not torch.Tensor
    with torch.inference_mode():
        first = ones(3, cpu)
    assert type(first) is torch.Tensor
    assert not first.is_inference()
    assert ones(3, cpu) is first
    with FakeTensorMode():
        assert type(ones(3, cpu)) is not torch.Tensor
    assert ones(3, cpu) is first
    assert made == [3, 3, 3]
    torch.func.grad(lambda x: (x * ones(2, cpu)).sum())(torch.zeros(2))
    assert torch.equal(ones(2, cpu) + 1, torch.full((2,), 2.0))  # it has not come out of the transform with its wrapping
    traced = torch.jit.trace(lambda x: x + ones(4, cpu), torch.zeros(4))
    assert "prim::Constant[value= 1  1  1  1" in str(traced.graph)
