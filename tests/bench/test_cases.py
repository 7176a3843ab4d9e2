import pytest
import torch

from gcp_repro.bench.cases import NAMED_SHAPES, Case, Inputs, Shape, list_cases, parse_shapes
from gcp_repro.bench.layers import like_peer
from gcp_repro.errors import OptionError
from gcp_repro.metalayers import META_LAYERS

CPU = torch.device("cpu")


@pytest.mark.parametrize("text", ["128x256x13x13", "10x2048to256x14x14", "1x1x1x1"])
def test_shapes_are_read_and_written(text):
    assert str(Shape.parse(text)) == text


@pytest.mark.parametrize("text", ["256x13", "0x3x4x4", "paper2", "2x3x4x-4", ""])
def test_bad_shapes_are_refused(text):
    with pytest.raises(OptionError, match=rf"written BxCxHxW.*got '{text}': mend it, or use one of paper, all"):
        parse_shapes([text], None)


def test_named_shapes_are_the_papers():
    assert [str(shape) for shape in parse_shapes(["paper"], None)] == ["128x256x13x13", "128x256x7x7", "128x256x14x14"]
    assert {shape.channels for shape in NAMED_SHAPES["all"]} == {64, 256, 512}
    assert 2048 in {shape.reduced_from for shape in NAMED_SHAPES["all"]}


def test_the_batch_size_is_replaced_and_shapes_come_once():
    assert [str(shape) for shape in parse_shapes(["4x3x2x2", "5x3x2x2"], 2)] == ["2x3x2x2"]
    with pytest.raises(OptionError, match="at least 1 image; got 0"):
        parse_shapes(["paper"], 0)


def test_every_layer_is_listed_with_the_options_it_has():
    cases = list_cases(list(META_LAYERS), ["gram", "dense"], ["float64", "float32"], with_peer=False)
    count = {name: sum(case.layer == name for case in cases) for name in META_LAYERS}
    assert count["gap"] == 1
    assert count["deep_o2p"] == 2  # two precisions, one route
    assert count["svd_pade"] == 4
    assert len(set(cases)) == len(cases)
    assert [case.dtype for case in cases if case.origin == "limit"] == ["float64", "float32"]


def test_the_peer_is_timed_where_it_has_a_counterpart():
    cases = list_cases(["mpn_cov", "svd_lyapunov", "gap"], ["gram"], ["float64", "float32"], with_peer=True)
    assert [case.layer for case in cases if case.origin == "peer"] == ["SVD_Original", "SVD_Pade"]


def test_options_of_a_layer_stand_after_its_name():
    case = Case("gcp_repro", "svd_lyapunov:shrinkage=0.1,heads=2", "gram", "float64")
    assert case.name == "svd_lyapunov"
    assert case.options == {"route": "gram", "dtype": "float64", "shrinkage": 0.1, "heads": 2}
    layer = case.build(torch.ones(1, 4, 2, 2), None)
    assert layer.output_dim(4) == 2 * 3
    assert case.limit == Case("limit", "limit", dtype="float64")
    assert list_cases(["svd_pade:layout=tokens"], ["gram"], ["float64"], with_peer=True)[1:] == [
        Case("gcp_repro", "svd_pade:layout=tokens", "gram", "float64", "standard")
    ]


def test_references_have_the_same_precision():
    assert Case("gcp_repro", "svd_pade", "gram", "float32").references == []
    assert Case("gcp_repro", "svd_lyapunov", "gram", "float32").references == [Case("gcp_repro", "isqrt_cov", "gram", "float32")]
    assert [case.layer for case in Case("gcp_repro", "mpn_cov", "gram", "float64").references] == ["SVD_Original", "SVD_Pade"]
    assert Case("peer", "SVD_Pade", dtype="float64").references == []


def test_mixed_precision_and_high_accuracy_are_compared_with_the_default():
    high = Case("gcp_repro", "svd_pade", "gram", "float64", "high")
    assert high.references == [Case("gcp_repro", "svd_pade", "gram", "float64", "standard")]
    mixed = Case("gcp_repro", "svd_pade", "gram", "mixed", "standard")
    assert mixed.references == [Case("gcp_repro", "svd_pade", "gram", "float64", "standard")]
    assert mixed.limit == Case("limit", "limit", dtype="mixed")
    assert mixed.limit.references == []


def test_combinations_that_a_layer_refuses_are_left_out():
    cases = list_cases(
        ["svd_pade", "mpa_lya", "gap"], ["gram", "dense"], ["float64", "mixed"], ["standard", "high"], with_peer=False
    )
    assert [str(case) for case in cases if case.origin == "gcp_repro"] == [
        "gcp_repro svd_pade gram float64", "gcp_repro svd_pade gram float64 high", "gcp_repro svd_pade gram mixed",
        "gcp_repro svd_pade gram mixed high", "gcp_repro svd_pade dense float64", "gcp_repro mpa_lya float64", "gcp_repro gap",
    ]  # fmt: skip


def test_all_candidates_get_the_same_features():
    shape = Shape.parse("3x4x2x2")
    inputs = Inputs(shape, CPU)
    assert inputs.features.shape == (3, 4, 2, 2)
    assert inputs.features.min() == 0
    assert inputs.upstream(torch.Size([3, 10])) is inputs.upstream(torch.Size([3, 10]))
    torch.testing.assert_close(Inputs(shape, CPU).features, inputs.features)


def test_a_reduction_stands_in_front_and_draws_no_global_random_numbers():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    inputs = Inputs(Shape.parse("3x8to4x2x2"), CPU)
    torch.testing.assert_close(torch.rand(1), expected)
    assert inputs.reduced.shape == (3, 4, 2, 2)
    trial = inputs.trial(Case("gcp_repro", "svd_lyapunov", "gram", "float64"), None)
    assert [tuple(size.shape) for size in trial.inputs] == [(3, 8, 2, 2), (4, 8, 1, 1), (4,), (4,)]


def test_a_peer_that_is_not_open_is_an_error():
    with pytest.raises(OptionError, match="needs the peer's clone; none is open: pass --peer PATH"):
        Case("peer", "SVD_Pade").build(torch.ones(1, 2, 2, 2), None)


@pytest.mark.parametrize(("channels", "kept"), [(256, 206), (64, 14), (8, 1)])
def test_topn_is_compared_at_the_peers_number(channels, kept):
    layer = like_peer(Case("gcp_repro", "svd_topn", "gram", "float64"), torch.ones(1, channels, 2, 2))
    assert layer.spec.top_n == kept
