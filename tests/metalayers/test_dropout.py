"""Dropout of channels: how many, which, and that a checkpoint goes on with the same."""

import copy
import functools
import math

import mpmath as mp
import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from gcp_repro.errors import OptionError
from gcp_repro.metalayers import build_meta_layer
from gcp_repro.metalayers.dropout import ChannelDropout, adaptive_rate
from tests.linalg.reference import DIGITS, moment, to_mp
from tests.metalayers.inputs import features_of


def test_off_in_evaluation_and_whole_channels_in_training():
    torch.manual_seed(0)
    dropout, features = ChannelDropout(0.4), 1 + features_of(50, 20, 3)
    assert dropout.eval()(features) is features
    dropped = dropout.train()(features)
    ratio = dropped / features
    assert torch.equal(ratio > 0, (ratio[..., :1] > 0).expand_as(ratio))
    assert ratio[ratio > 0].tolist() == pytest.approx([1 / 0.6] * int((ratio > 0).sum()), abs=1e-12)
    share, sigma = (ratio[..., 0] == 0).double().mean().item(), math.sqrt(0.4 * 0.6 / 1000)
    assert abs(share - 0.4) < 6 * sigma
    assert dropout.state[1] == 1  # nothing was drawn in evaluation


def test_batches_and_layers_differ_but_a_checkpoint_goes_on():
    torch.manual_seed(0)
    first, second, features = ChannelDropout(0.5), ChannelDropout(0.5), torch.ones(4, 30, 2)
    assert not torch.equal(first(features), second(features))
    saved = copy.deepcopy(first.state_dict())
    expected = [first(features) for _ in range(3)]
    assert not torch.equal(expected[0], expected[1])
    second.load_state_dict(saved)
    torch.manual_seed(7)  # global random state has no part in it
    assert all(torch.equal(second(features), masks) for masks in expected)


def test_a_layer_that_is_made_on_the_meta_device_has_a_state():
    with torch.device("meta"):
        dropout = ChannelDropout(0.5)
    features = torch.ones(4, 30, 2)
    assert 0 < dropout(features).mean() < 2
    assert dropout.state_dict()["_extra_state"].tolist() == [dropout.state[0].item(), 1]


def test_global_random_state_is_left_alone_and_decides_the_seed():
    torch.manual_seed(3)
    layer = build_meta_layer("dropcov")
    before = torch.get_rng_state()
    layer(torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    assert torch.equal(build_meta_layer("dropcov").dropout.state[0], layer.dropout.state[0])


def test_the_adaptive_rate_is_the_formula():
    features = torch.randn(3, 64, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    with mp.workdps(DIGITS):
        cosines = []
        for image in features:
            x = to_mp(image)
            p, n = moment(x), x.cols
            exponentials = [mp.exp(mp.fsum(x[i, :]) / n) for i in range(x.rows)]
            importance = [e / mp.fsum(exponentials) for e in exponentials]
            sums = [mp.fsum(p[i, :]) for i in range(x.rows)]
            norms = mp.sqrt(mp.fsum(v * v for v in importance)) * mp.sqrt(mp.fsum(v * v for v in sums))
            cosines.append(mp.fsum(a * b for a, b in zip(importance, sums, strict=True)) / norms)
        expected = float(1 - mp.mpf(10) / mp.log(64, 2) * mp.fsum(cosines) / 3)
    assert 0 < expected < 1
    assert adaptive_rate(features_of(3, 16, 5) + 0.1) == 0  # the formula is negative
    assert adaptive_rate(features).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-5])
def test_the_rate_does_not_depend_on_the_scale_of_deviations(scale):
    """Angles have none."""
    deviations = torch.randn(3, 64, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    deviations = torch.cat([deviations, -deviations], -1)  # of mean 0
    expected = adaptive_rate(deviations)
    assert 0 < expected < 1
    assert adaptive_rate(scale * deviations).item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_rate_is_a_probability_also_at_constant_features():
    """Without covariance nothing correlates: all is dropped, and that is 0, not NaN."""
    features = torch.full((2, 6, 4), 1.5, requires_grad=True)
    assert adaptive_rate(features) == 1
    output = build_meta_layer("dropcov")(features)
    (gradient,) = torch.autograd.grad(output.sum(), features)
    assert not output.any()
    assert not gradient.any()
    assert adaptive_rate(torch.rand(2, 1, 4)).isfinite()
    assert adaptive_rate(torch.tensor([[[10.0, 12.0], [1.0, -1.0], [1.0, -1.0]]])) == 1  # an important channel against the others


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf])
def test_an_image_that_is_not_finite_spoils_itself_alone(wrong):
    """The rate is that of the other images."""
    features = torch.randn(3, 64, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    expected = adaptive_rate(features[[0, 2]])
    assert 0 < expected < 1
    features[1, 2, 0] = wrong
    assert adaptive_rate(features) == pytest.approx(expected.item(), abs=1e-12)
    dropped = ChannelDropout("adaptive")(features)
    assert dropped[[0, 2]].isfinite().all()
    assert dropped[0].any()
    assert dropped[2].any()
    assert not dropped[1, 2, 0].isfinite()
    assert adaptive_rate(features[[1]]).isfinite()


def test_in_training_it_is_the_covariance_of_what_is_kept():
    features = features_of(3, 8, 9).requires_grad_()
    layer = build_meta_layer("dropcov", dropout=0.5)
    twin = copy.deepcopy(layer)
    kept = twin.dropout(features)
    expected = build_meta_layer("dropcov", dropout="none")(kept)
    output = layer(features)
    torch.testing.assert_close(output, expected)
    weights = torch.rand_like(output)
    found, wanted = (torch.autograd.grad(o, features, weights)[0] for o in (output, expected))
    torch.testing.assert_close(found, wanted)


def test_a_network_that_is_made_without_data_draws_as_any_other():
    """`to_empty` leaves what it makes as it finds the memory; the random state is no part of that."""
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(3, 4, 1), build_meta_layer("dropcov", dropout=0.5))
    state = net[1].dropout.state.clone()
    net.to_empty(device="cpu")
    assert torch.equal(net[1].dropout.state, state)
    assert not list(net[1].buffers())


def test_under_transforms():
    layer, features = build_meta_layer("dropcov", dropout=0.5), features_of(3, 8, 9)
    twin, leaf = copy.deepcopy(layer), features.clone().requires_grad_()
    expected = torch.autograd.grad(twin(leaf).square().sum(), leaf)[0]
    assert torch.equal(torch.func.grad(lambda x: layer(x).square().sum())(features), expected)
    assert torch.equal(layer.dropout.state, twin.dropout.state)
    each = torch.func.vmap(lambda x: layer(x[None])[0], randomness="different")(features[:1].expand(2, 8, 9))
    assert not torch.equal(*each)


def test_training_in_one_graph():
    torch._dynamo.reset()
    layer, features = build_meta_layer("dropcov", dropout=0.5), features_of(3, 8, 9)
    twin = copy.deepcopy(layer)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        torch.testing.assert_close(compiled(features), layer(features))
    assert torch.equal(twin.dropout.state, layer.dropout.state)
    torch._dynamo.reset()


@pytest.mark.parametrize(("reentrant", "compiled"), [(False, False), (True, False), (False, True)])
def test_a_forward_that_the_backward_computes_again_drops_the_same(reentrant, compiled):
    torch._dynamo.reset()
    plain = nn.Sequential(nn.Conv2d(3, 12, 1), build_meta_layer("dropcov", dropout=0.5)).double()
    checkpointed = copy.deepcopy(plain)
    again = functools.partial(checkpoint, checkpointed, use_reentrant=reentrant)
    if compiled:
        again = torch.compile(again, backend="aot_eager")
    for seed in range(3):
        images = features_of(2, 3, 3, 3, seed=seed).requires_grad_()
        gradients = []
        for output in (plain(images), again(images)):
            images.grad = None
            output.square().sum().backward()  # the reentrant form knows no other way
            gradients.append(images.grad)
        assert torch.equal(*gradients)
        assert checkpointed[1].dropout.state[1] == seed + 1
    torch._dynamo.reset()


def test_weights_of_a_network_without_it_are_loaded():
    with_dropout, without = (nn.Sequential(nn.Conv2d(3, 4, 1), build_meta_layer("dropcov", dropout=d)) for d in (0.2, "none"))
    state = with_dropout[1].dropout.state.clone()
    with_dropout.load_state_dict(without.state_dict())
    assert torch.equal(with_dropout[1].dropout.state, state)


@pytest.mark.parametrize("rate", [0.0, 1.0, -0.1, "adaptiv"])
def test_rates_out_of_range_are_refused(rate):
    with pytest.raises(OptionError, match=r"dropout must be one of none, adaptive, or a number > 0 and < 1; got"):
        build_meta_layer("isqrt_cov", dropout=rate)
