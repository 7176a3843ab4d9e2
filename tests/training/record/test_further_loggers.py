import importlib.util

import pytest

from gcp_repro.errors import OptionError
from gcp_repro.training.record.further_loggers import check_loggers
from gcp_repro.training.run import train


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "trackio"])
def test_a_logger_without_its_package_is_refused_before_anything_is_made(compose_tiny, monkeypatch, tmp_path, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(OptionError, match=rf"logger={name} needs the package {name}, .*: pip install 'gcp_repro\[{name}\]', or"):
        train(compose_tiny(f"logger={name}"))
    assert not (tmp_path / "runs").exists()


def test_other_loggers_are_their_own_affair():
    check_loggers(["wandb", "comet"])
