import math

import pytest
import torch

from gcp_repro.errors import OptionError, UnknownNameError
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.models import HEADS, LowRankBilinear
from gcp_repro.models.heads import build_head


def second_moment():
    return build_meta_layer("spectral", forward="power", exponent=1.0, moment="second_moment")


@pytest.mark.parametrize("projection_dim", [None, 3])
def test_low_rank_scores_are_the_difference_of_two_norms(projection_dim):
    """Kong and Fowlkes: |U+^T P^T X|_F^2 - |U-^T P^T X|_F^2 + b, without any matrix of channels by channels."""
    torch.manual_seed(0)
    head = LowRankBilinear(5 * 6 // 2, num_classes=4, rank=2, projection_dim=projection_dim).double()
    torch.nn.init.normal_(head.bias)
    features = torch.randn(3, 5, 7, dtype=torch.float64)
    x = features / 7**0.5
    x = x if head.projection is None else head.projection.T @ x
    plus, minus = head.factors[:, 0], head.factors[:, 1]
    scores = [
        torch.stack([((plus[k] @ image) ** 2).sum() - ((minus[k] @ image) ** 2).sum() + head.bias[k] for k in range(4)])
        for image in x
    ]
    assert torch.allclose(head(second_moment()(features)), torch.stack(scores), rtol=1e-11, atol=1e-12)


def test_low_rank_is_a_linear_classifier_of_such_weights():
    torch.manual_seed(0)
    head = LowRankBilinear(6 * 7 // 2, num_classes=3, rank=4).double()
    triangles = torch.randn(2, 21, dtype=torch.float64)
    columns = head(torch.eye(21, dtype=torch.float64)) - head.bias  # what a linear layer would hold
    assert torch.allclose(head(triangles), triangles @ columns + head.bias)
    rows, columns_of = torch.triu_indices(6, 6)
    matrix = torch.zeros(6, 6, dtype=torch.float64)
    matrix[rows, columns_of] = columns[:, 0]
    matrix = (matrix + matrix.T) / 2
    assert (torch.linalg.eigvalsh(matrix).abs() > 1e-12).sum() == 4


def test_a_class_costs_its_factors_alone():
    inputs = 256 * 257 // 2
    assert sum(p.numel() for p in LowRankBilinear(inputs, 10, rank=8, projection_dim=100).parameters()) == 10 * 801 + 25600
    assert sum(p.numel() for p in build_head("linear", inputs, 10).parameters()) == 10 * 32897


def test_initial_weights_have_the_variance_of_a_linear_layer():
    torch.manual_seed(0)
    head = LowRankBilinear(100 * 101 // 2, num_classes=200, rank=8)
    scores = head(torch.randn(50, 5050)).std().item()
    assert scores == pytest.approx(math.sqrt(1 / 3), rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": 16}, r"upper triangle of one matrix, C \(C \+ 1\) / 2 inputs; got 16"),
        ({"rank": 3}, r"even rank of at least 2 and projection_dim in 1 \.\.\. 5; got rank=3"),
        ({"rank": 0}, "got rank=0"),
        ({"projection_dim": 6}, "projection_dim=6"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(arguments, message):
    with pytest.raises(OptionError, match=message):
        LowRankBilinear(**{"inputs": 15, "num_classes": 2, **arguments})


def test_heads_by_name_and_options():
    assert build_head({"name": "low_rank_bilinear", "rank": 4}, 15, 3).factors.shape == (3, 4, 5)
    assert [layer.out_features for layer in build_head("linear", 15, 3, hidden_dims=(8,))[::2]] == [8, 3]
    assert build_head("linear", 15, 0)(torch.ones(2, 15)).shape == (2, 15)


def test_unknown_heads_and_options_are_refused():
    with pytest.raises(UnknownNameError, match="no head 'low_rank'; nearest: 'low_rank_bilinear'"):
        build_head("low_rank", 15, 3)
    with pytest.raises(OptionError, match="head low_rank_bilinear has the options rank, projection_dim; got hidden_dims"):
        build_head("low_rank_bilinear", 15, 3, hidden_dims=(8,))
    with pytest.raises(OptionError, match="got ranks"):
        build_head({"name": "low_rank_bilinear", "ranks": 2}, 15, 3)


def test_every_head_names_its_source():
    assert all(entry.description and entry.source for entry in HEADS.values())
