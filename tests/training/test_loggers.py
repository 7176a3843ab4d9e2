import pytest
import wandb

from gcp_repro.training.loggers import has_wandb_key


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
