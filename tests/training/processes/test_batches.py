import pytest

from gcp_repro.errors import OptionError
from gcp_repro.training.processes.batches import share_batch


@pytest.mark.parametrize(
    ("batch", "world", "options", "passes", "local"),
    [
        (256, 1, {}, 1, 256),
        (256, 8, {}, 1, 32),
        (256, 2, {"passes": 4}, 4, 32),
        (256, 2, {"images_per_device": 50}, 4, 32),
        (256, 2, {"images_per_device": 128}, 1, 128),
        (10, 2, {"images_per_device": 3}, 5, 1),  # 2 images would not divide 5
        (250, 1, {"images_per_device": 100}, 5, 50),  # neither would 3 passes divide 250
    ],
)
def test_a_step_is_shared_out_evenly_in_as_few_passes_as_fit(batch, world, options, passes, local):
    share = share_batch(batch, world, **options)
    assert (share.passes, share.local_batch_size) == (passes, local)


@pytest.mark.parametrize(
    ("batch", "world", "passes", "words"),
    [
        (10, 4, None, r"multiple of 4 \(4 processes x 1 passes\); got 10: set it to 8 or 12"),
        (3, 4, None, r"got 3: set it to 4, or change trainer.devices"),
        (256, 2, 3, r"multiple of 6 \(2 processes x 3 passes\); got 256: set it to 252 or 258"),
    ],
)
def test_what_cannot_be_shared_evenly_is_refused(batch, world, passes, words):
    with pytest.raises(OptionError, match=words):
        share_batch(batch, world, passes=passes)
    with pytest.raises(OptionError, match=r"trainer.images_per_device needs at least 1; got 0"):
        share_batch(10, 1, images_per_device=0)
