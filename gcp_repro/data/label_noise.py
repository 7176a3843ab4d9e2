"""Wrong labels on purpose: training that has to memorise some of its images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from gcp_repro.errors import OptionError

__all__ = ["check_label_noise", "with_label_noise"]


def check_label_noise(share: float) -> float:
    """The share itself.

    Raises:
        OptionError: Outside [0, 1].
    """
    if not 0 <= share <= 1:
        raise OptionError(f"label_noise needs a share from 0 to 1; got {share}: change data.label_noise")
    return share


def with_label_noise(labels: npt.NDArray[np.int64], share: float, num_classes: int, seed: int) -> npt.NDArray[np.int64]:
    """Labels of which a share names another class, each wrong class with the same probability.

    Args:
        labels: `(N,)`, from 0.
        share: Of the labels that change, rounded to a whole number of them.
        num_classes: From which the wrong ones are drawn; with one class nothing can be wrong.
        seed: Decides which labels change, and to what.

    Returns:
        `(N,)`; a copy where anything changes.

    Example:
        >>> with_label_noise(np.zeros(4, dtype=np.int64), 0.5, num_classes=2, seed=0).tolist()
        [0, 1, 1, 0]
    """
    count = round(check_label_noise(share) * len(labels)) if num_classes > 1 else 0
    if count == 0:
        return labels
    generator = np.random.default_rng((seed, len(labels)))
    changed = generator.permutation(len(labels))[:count]
    noisy: npt.NDArray[np.int64] = labels.copy()
    noisy[changed] = (labels[changed] + generator.integers(1, num_classes, size=count)) % num_classes
    return noisy
