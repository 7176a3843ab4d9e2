import importlib.util
import re

import pytest
import wandb

from gcp_repro.errors import OptionError
from gcp_repro.training.record.loggers import check_loggers, has_wandb_key
from gcp_repro.training.run import train


@pytest.mark.parametrize("host", ["api.wandb.ai", "wandb.example.org", "other.example.org"])
def test_a_key_is_found_under_the_host_that_wandb_uses(tmp_path, monkeypatch, host):
    """Releases differ in their default host, and WANDB_BASE_URL names a server of one's own."""
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    (tmp_path / "netrc").write_text(f"machine {host} login user password abc\n")
    assert has_wandb_key() == (host != "other.example.org")


def test_a_key_under_the_default_host_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    host = wandb.Settings().base_url.removeprefix("https://")
    (tmp_path / "netrc").write_text(f"machine {host} login user password abc\n")
    assert has_wandb_key()


SECRETS = ("WANDB_API_KEY", "HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD")


def test_no_secret_of_the_environment_is_in_any_file(compose_tiny, tmp_path, monkeypatch):
    for number, name in enumerate(SECRETS):
        monkeypatch.setenv(name, f"5ec3e7{number}" * 6)
    (tmp_path / "netrc").write_text(f"machine api.wandb.ai login user password {'4e73c' * 8}\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    train(compose_tiny("logger=wandb", "logger.wandb.mode=offline", "trainer.max_epochs=1", "callbacks=default"))
    files = [path for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert any(path.suffix == ".wandb" for path in files)
    assert [path for path in files if re.search(rb"5ec3e7|4e73c", path.read_bytes())] == []


@pytest.mark.parametrize("name", ["tensorboard", "mlflow", "trackio"])
def test_a_logger_without_its_package_is_refused_before_anything_is_made(compose_tiny, monkeypatch, tmp_path, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda package: None)
    with pytest.raises(OptionError, match=rf"logger={name} needs the package {name}, .*: pip install 'gcp_repro\[{name}\]', or"):
        train(compose_tiny(f"logger={name}"))
    assert not (tmp_path / "runs").exists()


def test_other_loggers_are_their_own_affair():
    check_loggers(["wandb", "comet"])
