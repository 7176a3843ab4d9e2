"""The learning rate over the epochs, by torch's own schedulers."""

from __future__ import annotations

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, MultiStepLR, SequentialLR

from gcp_repro.training.schedule.schedule import Schedule

__all__ = ["build_scheduler"]


def build_scheduler(optimizer: Optimizer, schedule: Schedule) -> LRScheduler:
    """What sets the rates of an optimiser before each epoch.

    With `rising_epochs` the first epochs train at 1/(n+1), 2/(n+1), ... of the full rate. Milestones count from the start of the
    run all the same; a cosine begins where the rise ends and reaches 0 after the last epoch.

    Args:
        optimizer: Its rates are the full ones.
        schedule: Shape, epochs and milestones.
    """
    rise = schedule.rising_epochs
    after: LRScheduler
    if schedule.shape == "cosine":
        after = CosineAnnealingLR(optimizer, T_max=schedule.epochs - rise)
    else:
        after = MultiStepLR(optimizer, [milestone - rise for milestone in schedule.milestones], gamma=schedule.gamma)
    if not rise:
        return after
    start = LinearLR(optimizer, start_factor=1 / (rise + 1), end_factor=1.0, total_iters=rise)
    return SequentialLR(optimizer, [start, after], milestones=[rise])
