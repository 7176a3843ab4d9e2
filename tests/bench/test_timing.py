import gc

import pytest
import torch
from torch import nn

from gcp_repro.bench.timing import Sample, Trial, median, minimum, minimum_ratio, paired_ratio, take_turns, torch_threads

SLOW = [Sample(2.0, 4.0), Sample(20.0, 40.0), Sample(4.0, 2.0)]
FAST = [Sample(1.0, 1.0), Sample(10.0, 10.0), Sample(1.0, 1.0)]


def test_a_trial_reads_the_clock_it_is_given():
    ticks = iter([1.0, 3.0, 7.0])
    trial = Trial(nn.Identity(), torch.ones(1, 1, 1, 1), torch.ones, clock=lambda: next(ticks))
    assert trial.run() == Sample(2.0, 4.0)


def test_candidates_take_turns():
    calls = []

    def candidate(name):
        def run():
            calls.append(name)
            return Sample(len(calls), 0.0)

        return run

    steps = []
    samples = take_turns({name: candidate(name) for name in "abc"}, 6, lambda: steps.append(len(calls)))

    rounds = ["".join(calls[start : start + 3]) for start in range(0, 18, 3)]
    assert {"".join(sorted(order)) for order in rounds} == {"abc"}
    assert {order[0] for order in rounds} == set("abc")  # the order changes
    assert [sample.forward for sample in samples["b"]] == [3 * index + order.index("b") + 1 for index, order in enumerate(rounds)]
    assert steps == list(range(1, 19))


def test_garbage_collection_is_resumed_after_a_failure():
    def fail():
        assert not gc.isenabled()
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        take_turns({"a": fail}, 1)
    assert gc.isenabled()


def test_statistics_per_phase():
    assert minimum(SLOW, "total") == 6.0
    assert median(SLOW, "forward") == 4.0
    assert median(SLOW, "total") == 6.0


def test_ratios_are_taken_round_by_round():
    # rounds: 6/2, 60/20, 6/2; the slow second round cancels
    assert paired_ratio(SLOW, FAST) == 3.0
    assert paired_ratio(SLOW, FAST, "backward") == 4.0
    assert minimum_ratio(SLOW, FAST, "backward") == 2.0


def test_rounds_that_do_not_match_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        paired_ratio(SLOW, FAST[:2])


def test_trial_runs_forward_and_backward_of_features_and_parameters():
    seen = []
    layer = nn.Linear(4, 3)
    layer.weight.register_hook(lambda gradient: seen.append(("weight", gradient.clone())))
    features = torch.randn(2, 4)
    trial = Trial(layer, features, lambda size: torch.ones(size))
    trial.features.register_hook(lambda gradient: seen.append(("features", gradient.clone())))

    sample = trial.run()

    assert sample.forward > 0
    assert sample.backward > 0
    assert sample.total == sample.forward + sample.backward
    assert [name for name, _ in seen].count("weight") == 2  # warm-up and run
    (by_features,) = [gradient for name, gradient in seen if name == "features"]
    torch.testing.assert_close(by_features, layer.weight.sum(0).expand(2, 4))
    assert layer.weight.grad is None  # nothing accumulates from run to run


def test_threads_are_put_back():
    before = torch.get_num_threads()
    with torch_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
