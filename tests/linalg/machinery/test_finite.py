import pytest
import torch

from gcp_repro.linalg.machinery.finite import all_finite

LARGEST = torch.finfo(torch.float32).max


@pytest.mark.parametrize(
    ("values", "finite"),
    [
        ([1.0, -2.0], True), ([], True), ([LARGEST, LARGEST], True), ([LARGEST, -LARGEST, LARGEST, LARGEST], True),
        ([1.0, torch.nan], False), ([torch.inf, 1.0], False), ([torch.inf, -torch.inf], False),
        ([LARGEST, LARGEST, torch.nan], False),
    ],
)  # fmt: skip
def test_sums_that_overflow_are_no_reason_to_refuse(values, finite):
    assert all_finite(torch.tensor(values)) is finite
    assert all_finite(torch.tensor([values, values])) is finite
