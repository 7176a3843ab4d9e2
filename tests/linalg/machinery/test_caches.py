import torch
from torch._subclasses import FakeTensorMode

from gcp_repro.linalg.machinery.caches import keep_tensors


def test_tensors_are_kept_but_for_those_of_a_mode_or_of_inference():
    made = []

    @keep_tensors(maxsize=4)
    def ones(size, device):
        made.append(size)
        return torch.ones(size, device=device)

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
