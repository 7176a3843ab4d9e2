"""A further dimension becomes part of the batch, and is taken apart again."""

from __future__ import annotations

import torch

from gcp_repro.linalg.machinery.mapped import call_mapped


def function(x, parts, factor):
    return (factor * x + parts[0], parts[1].sum(-1)) if factor > 1 else factor * x + parts[0]


def test_every_item_is_treated_as_by_itself_wherever_its_dimension_is():
    x, first, second = torch.rand(4, 2, 3), torch.rand(2, 4, 3), torch.rand(2, 5)
    arguments, in_dims = (x, [first, second], 2.0), (0, [1, None], None)
    results, dims = call_mapped(function, 4, in_dims, arguments)
    assert dims == (0, 0)
    for i in range(4):
        alone = function(x[i], [first[:, i], second], 2.0)
        assert all(torch.equal(result[i], expected) for result, expected in zip(results, alone, strict=True))
    single, dim = call_mapped(function, 4, in_dims, (*arguments[:2], 1.0))
    assert dim == 0
    assert torch.equal(single, x + first.movedim(1, 0))


def test_the_form_of_what_is_returned_stays_and_batches_may_be_empty():
    results, dims = call_mapped(lambda x: [x, x], 3, (1,), (torch.rand(0, 3, 2),))
    assert dims == [0, 0]
    assert [result.shape for result in results] == [(3, 0, 2)] * 2
    results, _ = call_mapped(lambda x: (x, x[:, :0]), 3, (0,), (torch.rand(3, 2, 4),))
    assert [result.shape for result in results] == [(3, 2, 4), (3, 2, 0)]
