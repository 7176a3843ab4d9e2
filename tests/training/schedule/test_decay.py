import math

import pytest
import torch

from gcp_repro.errors import OptionError, ProtocolError
from gcp_repro.training.schedule.decay import build_scheduler
from gcp_repro.training.schedule.schedule import Schedule, plan_hybrid


def rates(schedule):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(()))], lr=2.0)
    scheduler = build_scheduler(optimizer, schedule)
    found = []
    for _ in range(schedule.epochs):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*found, optimizer.param_groups[0]["lr"]]


def test_steps():
    assert rates(Schedule(5, (2, 4), 0.1)) == pytest.approx([2, 2, 0.2, 0.2, 0.02, 0.02])


def test_a_cosine_ends_at_zero():
    expected = [1 + math.cos(math.pi * epoch / 4) for epoch in range(5)]
    assert rates(Schedule(4, shape="cosine")) == pytest.approx(expected, abs=1e-12)


def test_a_rise_comes_before_either_and_moves_no_milestone():
    assert rates(Schedule(5, (3,), 0.1, rising_epochs=1)) == pytest.approx([1, 2, 2, 0.2, 0.2, 0.2])
    expected = [2 / 3, 4 / 3, *(1 + math.cos(math.pi * epoch / 4) for epoch in range(5))]
    assert rates(Schedule(6, shape="cosine", rising_epochs=2)) == pytest.approx(expected, abs=1e-12)


def test_what_does_not_fit_is_refused():
    with pytest.raises(OptionError, match=r"needs 'step', or 'cosine' without milestones; got 'cosine' with \[2\]: set"):
        Schedule(4, (2,), shape="cosine")
    with pytest.raises(OptionError, match=r"rising_epochs needs 0 to 1 epochs, before the first decay; got 2"):
        Schedule(4, (2,), rising_epochs=2)
    with pytest.raises(ProtocolError, match=r"got schedule\.shape='cosine', which decays at every epoch and has no stage"):
        plan_hybrid(Schedule(4, shape="cosine"), 1)


def test_the_hybrid_plan_keeps_the_rise():
    assert plan_hybrid(Schedule(6, (2, 4), rising_epochs=1), 1, "added").schedule.rising_epochs == 1
