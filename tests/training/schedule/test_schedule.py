import pytest

from gcp_repro.errors import OptionError, ProtocolError
from gcp_repro.training.schedule.schedule import Schedule, plan_hybrid


@pytest.mark.parametrize(
    ("epochs", "milestones", "warmup", "swap"),
    [
        (30, [10, 20], 1, 19),  # the paper's AlexNet
        (60, [30, 45], 2, 43),  # the paper's ResNet
        (15, [5, 10], 1, 9),  # digits
        (15, [5, 10], 0, 10),  # no warm-up: swap with the decay
        (15, [5, 10], 5, 5),  # the whole stage
        (4, [2], 1, 1),  # one decay: the first stage keeps an epoch of Newton-Schulz
    ],
)
def test_warmup_is_taken_from_the_stage_before_the_last_decay(epochs, milestones, warmup, swap):
    schedule = Schedule(epochs, tuple(milestones))
    plan = plan_hybrid(schedule, warmup, "taken")
    assert plan.swap_epoch == swap
    assert plan.schedule == schedule


@pytest.mark.parametrize(("warmup", "milestones", "epochs"), [(0, (10, 20), 30), (1, (10, 21), 31), (7, (10, 27), 37)])
def test_added_warmup_delays_the_last_decay_and_the_end(warmup, milestones, epochs):
    plan = plan_hybrid(Schedule(30, (10, 20), 0.5), warmup, "added")
    assert plan.swap_epoch == 20
    assert plan.schedule == Schedule(epochs, milestones, 0.5)


def test_a_schedule_without_decay_is_refused():
    with pytest.raises(ProtocolError, match=r"needs a decay.*got schedule.milestones=\[\].*set schedule.milestones"):
        plan_hybrid(Schedule(10), 1)


@pytest.mark.parametrize("milestones", [(5, 10), (20,)])
def test_a_decay_that_never_comes_is_refused(milestones):
    with pytest.raises(OptionError, match=r"before the run's end; got schedule.milestones=\[.*\] with 10 epochs"):
        Schedule(10, milestones)
    assert Schedule(10, (5, 9)).milestones == (5, 9)


@pytest.mark.parametrize(("milestones", "warmup", "longest"), [((5, 10), 6, 5), ((4,), 4, 3), ((1,), 1, 0)])
def test_a_warmup_longer_than_its_stage_is_refused(milestones, warmup, longest):
    with pytest.raises(ProtocolError, match=rf"allows at most {longest} epochs; got warmup_epochs={warmup}.*placement=added"):
        plan_hybrid(Schedule(15, milestones), warmup)


def test_options_out_of_range_are_refused():
    with pytest.raises(OptionError, match=r"0 epochs or more; got -1: set protocol.warmup_epochs"):
        plan_hybrid(Schedule(15, (5, 10)), -1)
    with pytest.raises(OptionError, match=r"'taken' or 'added'; got 'late'"):
        plan_hybrid(Schedule(15, (5, 10)), 1, "late")
    with pytest.raises(OptionError, match=r"at least one epoch; got 0"):
        Schedule(0)
    with pytest.raises(OptionError, match=r"positive factor; got 0"):
        Schedule(3, (1,), 0)
    for milestones in ([3, 3], [5, 2], [0, 2]):
        with pytest.raises(OptionError, match=r"ascending epochs after 0; got \["):
            Schedule(9, milestones)
