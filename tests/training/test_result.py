import subprocess

import pytest
from omegaconf import OmegaConf

from gcp_repro.training import result
from gcp_repro.training.processes.batches import BatchShare
from gcp_repro.training.result import batch_norm_setting, layer_options, protocol_options


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of the package, whose revision is asked for."""
    for name in ("gcp_repro/training/result.py", "configs/train.yaml", "notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")
    identity = ["-c", "user.name=n", "-c", "user.email=e"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-qm", "m"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(result, "__file__", str(tmp_path / "gcp_repro" / "training" / "result.py"))
    result.git_revision.cache_clear()
    yield tmp_path
    result.git_revision.cache_clear()


@pytest.mark.parametrize(
    ("change", "dirty"),
    [(None, False), ("notes.txt", False), ("more_notes.txt", False), ("configs/train.yaml", True), ("gcp_repro/new.py", True)],
)
def test_code_that_differs_or_is_not_in_the_commit_is_dirty(checkout, change, dirty):
    if change is not None:
        (checkout / change).write_text("changed")
    revision = result.git_revision()
    assert revision.endswith("-dirty") == dirty
    assert len(revision.removesuffix("-dirty")) == 40


@pytest.mark.parametrize(
    ("overrides", "options"),
    [
        ([], ""),
        (["meta_layer.route=dense"], ""),
        (["protocol.placement=added"], "placement=added"),
        (["meta_layer.route=dense", "protocol.initial.route=auto"], "initial.route=auto"),
        (["protocol.initial.num_iterations=7", "protocol.placement=added"], "placement=added, initial.num_iterations=7"),
    ],
)
def test_the_protocols_options_are_those_that_differ_from_its_defaults(compose_train, overrides, options):
    assert protocol_options(compose_train("protocol=hybrid", "meta_layer=svd_pade", *overrides)) == options
    assert protocol_options(compose_train("meta_layer=svd_pade")) == ""


def test_batch_norm_over_less_than_a_step_is_part_of_the_setting():
    from torch import nn

    plain, normal, synchronous = nn.Linear(2, 2), nn.BatchNorm1d(2), nn.SyncBatchNorm(2)
    share = BatchShare(batch_size=32, world_size=2, passes=2)
    assert batch_norm_setting(plain, share) == {}
    assert batch_norm_setting(normal, share) == {"batch_norm_images": 8}
    assert batch_norm_setting(synchronous, share) == {"batch_norm_images": 16}
    assert batch_norm_setting(normal, BatchShare(32, 1, 1)) == {}


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"name": "svd_topn", "top_n": 14, "dtype": "float32", "route": "dense"}, "top_n=14"),
        ({"name": "isqrt_cov", "num_iterations": 5, "heads": 4, "layout": "tokens"}, "heads=4"),
        ({"name": "svd_lyapunov", "shrinkage": "oas", "correlation": False}, "shrinkage=oas"),
        ({"name": "spectral", "gradient": "taylor", "degree": 20}, "gradient=taylor, degree=20"),
        ({"name": "dropcov", "dropout": "adaptive"}, ""),
        ({"name": "dropcov", "dropout": 0.2}, "dropout=0.2"),
    ],
)
def test_options_that_tell_layers_apart_are_named(layer, words):
    """Runs whose layers differ must not share a cell of a table."""
    assert layer_options(OmegaConf.create({"_target_": "gcp_repro.metalayers.build_meta_layer", **layer})) == words
