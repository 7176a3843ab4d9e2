"""The configuration files against the code that they configure."""

from importlib.resources import files
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from gcp_repro.metalayers import META_LAYERS
from gcp_repro.training.build import plan

CONFIGS = Path(str(files("gcp_repro.configs")))


def options(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def test_every_layer_has_a_file_and_every_file_a_layer():
    assert options("meta_layer") == sorted(META_LAYERS.built_in)


@pytest.mark.parametrize("name", META_LAYERS.built_in)
def test_the_files_of_layers_show_all_options_with_their_defaults(name):
    config = OmegaConf.to_container(OmegaConf.load(CONFIGS / "meta_layer" / f"{name}.yaml"))
    assert config.pop("_target_") == "gcp_repro.metalayers.build_meta_layer"
    assert config.pop("name") == name
    assert config == dict(META_LAYERS[name].defaults)


@pytest.mark.parametrize("experiment", options("experiment"))
@pytest.mark.parametrize("protocol", options("protocol"))
def test_experiments_compose_and_their_schedules_allow_the_hybrid_protocol_if_they_decay(compose_train, experiment, protocol):
    config = compose_train(f"experiment={experiment}", f"protocol={protocol}", "meta_layer=svd_pade")
    assert config.experiment_name == experiment
    if config.schedule.milestones:
        assert (plan(config) is None) == (protocol == "standalone")
    assert f"/{experiment}/svd_pade-float64-auto-{protocol}-seed0-" in config.paths.run_dir


@pytest.mark.parametrize("group", ["trainer", "logger", "callbacks", "debug"])
def test_all_options_compose(compose_train, group):
    for option in options(group):
        assert compose_train(f"{group}={option}").seed == 0


def test_values_are_plain_yaml():
    """null and not None; no absolute path."""
    for path in CONFIGS.rglob("*.yaml"):
        for line in path.read_text().splitlines():
            value = line.split("#")[0].partition(":")[2].strip()
            assert value != "None", path
            assert not value.startswith("/"), path
