"""A path that a user gives is the one of that name, whatever it is called; `~` is the home folder."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gcp_repro.errors import DataError
from gcp_repro.models.timm_backbone import TimmBackbone
from gcp_repro.training.evaluate import find_checkpoint
from gcp_repro.training.protocol.initial_weights import InitialWeights
from gcp_repro.training.record.loggers import has_wandb_key
from gcp_repro.training.record.predictions import check_files
from gcp_repro.training.replay import replay
from gcp_repro.user_paths import user_path
from gcp_repro.weights import export_weights, import_weights
from tests.test_imports import ROOT

STRANGER = "~nobody-of-that-name/data"


def test_home_is_the_users_where_no_folder_is_called_so(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert user_path("~/data") == tmp_path / "data"
    assert user_path(STRANGER) == Path(STRANGER)
    (tmp_path / "~").mkdir()
    assert user_path("~") == Path("~")


@pytest.mark.parametrize(
    "read",
    [
        lambda: replay(OmegaConf.create({"replay": STRANGER})),
        lambda: import_weights(STRANGER),
        lambda: export_weights(STRANGER, "alexnet", "out.pth"),
        lambda: TimmBackbone("resnet18", checkpoint=STRANGER),
    ],
    ids=["replay", "import", "export", "backbone"],
)
def test_a_name_that_begins_with_a_tilde_is_no_user(read):
    with pytest.raises(DataError, match=STRANGER):
        read()


def test_files_to_write_and_to_look_for_likewise(monkeypatch):
    assert check_files({"predictions": STRANGER}) == {"predictions": Path(STRANGER)}
    assert find_checkpoint(STRANGER, None) == Path(STRANGER) / "checkpoints" / "last.ckpt"
    assert InitialWeights(STRANGER).checkpoint == Path(STRANGER)
    monkeypatch.setenv("NETRC", STRANGER)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert not has_wandb_key()


def test_nothing_else_looks_for_homes():
    others = [path for path in (ROOT / "gcp_repro").rglob("*.py") if path.stem != "user_paths"]
    assert [path for path in others if "expanduser" in path.read_text(encoding="utf-8")] == []
