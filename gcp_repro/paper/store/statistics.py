"""Means over seeds, and differences between layers that were trained with the same seeds."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, stdtrit

__all__ = ["CONFIDENCE", "MIN_PAIRS", "Difference", "Summary", "paired_difference", "places", "summarise"]

CONFIDENCE = 0.95
MIN_PAIRS = 5
"""Fewest pairs from which a difference is claimed: n pairs agree in sign by chance with probability 2^(1-n), 6% for five."""
RESAMPLES = 10_000
SEED = 0


@dataclass(frozen=True)
class Summary:
    """Mean and spread of repetitions.

    Attributes:
        n: Number of values.
        mean: Their mean; NaN for none.
        sd: Sample standard deviation (divisor n - 1); NaN for fewer than two.
    """

    n: int
    mean: float
    sd: float

    def text(self, digits: int = 2) -> str:
        """As shown in tables.

        Example:
            >>> summarise([3.0, 4.0, 5.0]).text(), summarise([3.0]).text()
            ('4.00 ± 1.00', '3.00')
        """
        if self.n == 0:
            return ""
        return f"{self.mean:.{digits}f}" + (f" ± {self.sd:.{digits}f}" if self.n > 1 else "")


@dataclass(frozen=True)
class Difference:
    """Mean difference of pairs with an interval.

    Attributes:
        n: Number of pairs.
        mean: Mean of value minus reference.
        low: Lower end of the interval; NaN for fewer than three pairs.
        high: Upper end.
    """

    n: int
    mean: float
    low: float
    high: float

    @property
    def separated(self) -> bool:
        """Whether the interval excludes zero and rests on at least `MIN_PAIRS` pairs."""
        return self.n >= MIN_PAIRS and (self.low > 0 or self.high < 0)

    def text(self, digits: int = 2) -> str:
        """As shown in tables: mean and interval."""
        if self.n == 0:
            return ""
        interval = "" if math.isnan(self.low) else f" [{self.low:+.{digits}f}, {self.high:+.{digits}f}]"
        return f"{self.mean:+.{digits}f}{interval}"


def summarise(values: Iterable[float]) -> Summary:
    """Mean, sample standard deviation and number of the values that are not NaN."""
    array = np.array([value for value in values if not math.isnan(value)], dtype=np.float64)
    mean = float(array.mean()) if array.size else math.nan
    sd = float(array.std(ddof=1)) if array.size > 1 else math.nan
    return Summary(array.size, mean, sd)


def paired_difference(values: Mapping[Hashable, float], reference: Mapping[Hashable, float]) -> Difference:
    """Difference of two sets of runs over the seeds that both have, with a bootstrap interval for its mean.

    Args:
        values: Value by seed.
        reference: The same for what is compared with.

    Returns:
        Mean difference and its expanded percentile interval (10,000 resamples, fixed seed): the percentile bootstrap
        is too narrow
        for few pairs, and the expansion takes the percentiles at which it has the width of Student's interval for normal data.

    Source:
        Hesterberg: What Teachers Should Know About the Bootstrap, The American Statistician 69 (2015), section 5.2.

    Example:
        >>> paired_difference({0: 3.0, 1: 4.0, 2: 5.0}, {0: 2.0, 1: 3.0, 2: 4.0, 3: 9.0})
        Difference(n=3, mean=1.0, low=1.0, high=1.0)
    """
    seeds = sorted((seed for seed in values if seed in reference), key=str)
    differences = np.array([values[seed] - reference[seed] for seed in seeds], dtype=np.float64)
    differences = differences[~np.isnan(differences)]
    n = differences.size
    mean = float(differences.mean()) if n else math.nan
    if n < 3:
        return Difference(n, mean, math.nan, math.nan)
    low, high = np.quantile(_resampled_means(differences), _expanded_tails(n))
    return Difference(n, mean, float(low), float(high))


def _resampled_means(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    draws = np.random.default_rng(SEED).integers(values.size, size=(RESAMPLES, values.size))
    means: npt.NDArray[np.float64] = values[draws].mean(axis=1)
    return means


def _expanded_tails(n: int) -> tuple[float, float]:
    quantile = math.sqrt(n / (n - 1)) * float(stdtrit(n - 1, 0.5 + CONFIDENCE / 2))
    tail = float(ndtr(-quantile))
    return tail, 1 - tail


def places(values: Mapping[Hashable, Mapping[Hashable, float]]) -> dict[Hashable, int]:
    """Which entries are among the best three, lower being better, as far as the data tell them apart.

    Neighbours in the order of means whose paired difference is not separated share a place, and a group that would reach below
    the third place gets none. So nothing is marked where intervals overlap.

    Args:
        values: For each entry, its values by seed.

    Example:
        >>> places({"a": dict.fromkeys(range(5), 1.0), "b": dict.fromkeys(range(5), 2.0), "c": {0: 2.0}})
        {'a': 1, 'b': 2, 'c': 2}
    """
    order = sorted((name for name in values if values[name]), key=lambda name: summarise(values[name].values()).mean)
    groups: list[list[Hashable]] = []
    for name in order:
        if groups and not paired_difference(values[name], values[groups[-1][-1]]).separated:
            groups[-1].append(name)
        else:
            groups.append([name])
    return _group_places(groups)


def _group_places(groups: Sequence[Sequence[Hashable]]) -> dict[Hashable, int]:
    result: dict[Hashable, int] = {}
    before = 0
    for group in groups:
        if before + len(group) <= 3 and len(groups) > 1:
            result |= dict.fromkeys(group, before + 1)
        before += len(group)
    return result
