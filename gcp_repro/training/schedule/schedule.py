"""Epochs, learning-rate decays, and the epoch at which the hybrid protocol swaps its layer: pure arithmetic.

Epochs are counted from 0; a milestone is the first epoch of a stage, that is, the first that trains at the decayed rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

from gcp_repro.errors import OptionError, ProtocolError

__all__ = ["HybridPlan", "Placement", "Schedule", "plan_hybrid"]

Placement = Literal["taken", "added"]


@dataclass(frozen=True)
class Schedule:
    """Step decay: the rate is multiplied by `gamma` at each milestone. Or a cosine, and either after a linear start.

    Args:
        epochs: Length of the run.
        milestones: Epochs that start with a decay, ascending, within the run.
        gamma: Factor of a decay.
        shape: "step", or "cosine" to 0 at the end, which has no milestones.
        rising_epochs: Epochs over which the rate first rises to its full value.

    Raises:
        OptionError: No epoch at all, another shape, a cosine with milestones, a rise that reaches the first decay, milestones
            that are not ascending epochs of the run, or a factor that is not positive.
    """

    epochs: int
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    shape: str = "step"
    rising_epochs: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "milestones", tuple(self.milestones))
        if self.epochs < 1:
            raise OptionError(f"a run needs at least one epoch; got {self.epochs}: set schedule.epochs")
        if any(later <= earlier for earlier, later in pairwise((0, *self.milestones))):
            raise OptionError(
                f"milestones need to be ascending epochs after 0; got {list(self.milestones)}: set schedule.milestones"
            )
        if self.shape not in ("step", "cosine") or (self.shape == "cosine" and self.milestones):
            raise OptionError(
                f"schedule.shape needs 'step', or 'cosine' without milestones; got {self.shape!r} with "
                f"{list(self.milestones)}: set "
                "schedule.milestones=[] for a cosine"
            )
        longest = min((self.epochs, *self.milestones)) - 1
        if not 0 <= self.rising_epochs <= longest:
            raise OptionError(
                f"schedule.rising_epochs needs 0 to {longest} epochs, before the first decay; got {self.rising_epochs}: leave "
                "some at "
                "the full rate"
            )
        if self.milestones and self.milestones[-1] >= self.epochs:
            raise OptionError(
                f"each decay needs to come before the run's end; got schedule.milestones={list(self.milestones)} with "
                f"{self.epochs} epochs, counted from 0: lower schedule.milestones (or set it to []), or raise schedule.epochs"
            )
        if not self.gamma > 0:
            raise OptionError(f"a decay needs a positive factor; got {self.gamma}: set schedule.gamma")


@dataclass(frozen=True)
class HybridPlan:
    """The schedule that a hybrid run follows and the first epoch that trains with the configured layer."""

    schedule: Schedule
    swap_epoch: int


def plan_hybrid(schedule: Schedule, warmup_epochs: int, placement: Placement = "taken") -> HybridPlan:
    """Where Newton-Schulz gives way: `warmup_epochs` before the last decay, still at the old rate.

    With "taken" the warm-up consists of the last epochs of the stage before the last decay, and the run keeps its length.
    With "added" that stage keeps its length and is followed by the warm-up, so that the last decay and the end come later.

    Args:
        schedule: That of a standalone run.
        warmup_epochs: Epochs of the configured layer before the last decay; 0 swaps at the decay.
        placement: "taken" or "added". The paper does not say which it used.

    Raises:
        ProtocolError: No decay to count from, a decay that the run does not reach, or a warm-up longer than the stage before
            the last decay or that leaves Newton-Schulz no epoch.
        OptionError: An unknown placement, or a negative warm-up.

    Example:
        >>> plan_hybrid(Schedule(30, (10, 20)), warmup_epochs=1).swap_epoch
        19
        >>> plan_hybrid(Schedule(30, (10, 20)), warmup_epochs=1, placement="added")
        HybridPlan(schedule=Schedule(epochs=31, milestones=(10, 21), gamma=0.1, shape='step', rising_epochs=0), swap_epoch=20)

    Source:
        Song, Sebe, Wang, ICCV 2021 (arXiv:2105.02498), section 3.2.
    """
    if placement not in ("taken", "added"):
        raise OptionError(f"placement needs 'taken' or 'added'; got {placement!r}: set protocol.placement")
    if warmup_epochs < 0:
        raise OptionError(f"a warm-up needs 0 epochs or more; got {warmup_epochs}: set protocol.warmup_epochs")
    last = _last_decay(schedule)
    if placement == "added":
        milestones = (*schedule.milestones[:-1], last + warmup_epochs)
        longer = replace(schedule, epochs=schedule.epochs + warmup_epochs, milestones=milestones)
        return HybridPlan(longer, swap_epoch=last)
    longest = _longest_warmup(schedule.milestones)
    if warmup_epochs > longest:
        raise ProtocolError(
            f"the hybrid protocol takes its warm-up from the stage before the last decay (epoch {last}), which allows at "
            f"most {longest} epochs; got warmup_epochs={warmup_epochs}: shorten protocol.warmup_epochs, or set "
            "protocol.placement=added"
        )
    return HybridPlan(schedule, swap_epoch=last - warmup_epochs)


def _last_decay(schedule: Schedule) -> int:
    if schedule.shape == "cosine":
        raise ProtocolError(
            "the hybrid protocol goes over to the SVD layer before the last decay of a step schedule; got "
            "schedule.shape='cosine', "
            "which decays at every epoch and has no stage to take the warm-up from: set schedule.shape=step with milestones, or "
            "protocol=standalone"
        )
    if not schedule.milestones:
        raise ProtocolError(
            "the hybrid protocol needs a decay of the learning rate to count its warm-up from; got schedule.milestones=[]: "
            "set schedule.milestones, or protocol=standalone"
        )
    return schedule.milestones[-1]


def _longest_warmup(milestones: Sequence[int]) -> int:
    """Epochs of the stage before the last decay, less one if that stage is the first: Newton-Schulz must train too."""
    if len(milestones) == 1:
        return milestones[0] - 1
    return milestones[-1] - milestones[-2]
