"""What is refused before a run starts."""

import pytest

from gcp_repro.errors import OptionError
from gcp_repro.training.run import train


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_fork"])
def test_strategies_that_train_in_child_processes_are_refused(compose_tiny, strategy):
    with pytest.raises(OptionError, match=f"got '{strategy}': use trainer.strategy=ddp"):
        train(compose_tiny(f"trainer.strategy={strategy}"))
