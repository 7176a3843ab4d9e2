import numpy as np
import pytest

from gcp_repro.data.label_noise import with_label_noise


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("num_classes", [2, 10])
def test_exactly_that_share_is_wrong(share, num_classes):
    labels = np.arange(1000) % num_classes
    noisy = with_label_noise(labels, share, num_classes, seed=0)
    assert (noisy != labels).sum() == share * 1000
    assert (noisy.min(), noisy.max()) == (0, num_classes - 1)


def test_every_wrong_class_is_as_likely_and_the_labels_given_are_left_alone():
    labels = np.zeros(90_000, dtype=np.int64)
    shares = np.bincount(with_label_noise(labels, 1.0, 10, seed=0))[1:] / 90_000
    assert not labels.any()
    assert shares == pytest.approx(np.full(9, 1 / 9), abs=5 * (1 / 9 / 90_000) ** 0.5)  # five standard deviations


def test_one_class_cannot_be_wrong():
    assert not with_label_noise(np.zeros(5, dtype=np.int64), 1.0, 1, seed=0).any()
