"""The configuration files against the code that they configure."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest
import yaml
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf

from gcp_repro.data.augmentation import Augmentation
from gcp_repro.linalg.machinery.options import options_of
from gcp_repro.metalayers import META_LAYERS
from gcp_repro.training.build import plan
from gcp_repro.training.option_kinds import check_kinds
from gcp_repro.training.record.progress import Progress

CONFIGS = Path(str(files("gcp_repro.configs")))
TAKERS = {"progress": Progress, "augmentation": Augmentation}
"""What takes the values of a mapping, by key, where the files name no target."""


def options(group):
    return sorted(path.stem for path in (CONFIGS / group).glob("*.yaml"))


def test_every_layer_has_a_file():
    assert META_LAYERS.built_in.keys() <= set(options("meta_layer"))


@pytest.mark.parametrize("choice", options("meta_layer"))
def test_every_file_of_a_layer_builds_it(choice, compose_train):
    """Those included that start from another and change options, for an experiment."""
    config = compose_train(f"meta_layer={choice}").meta_layer
    assert instantiate(config).name == config.name


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
    check_kinds(config)
    if config.schedule.milestones:
        assert (plan(config) is None) == (protocol == "standalone")
    assert f"/{experiment}/svd_pade-float64-auto-{protocol}-seed0-" in config.paths.run_dir


@pytest.mark.parametrize("group", ["data", "model", "optimizer", "trainer", "logger", "callbacks", "debug"])
def test_all_options_compose(compose_train, group):
    for option in options(group):
        place = ["data.root=images"] if option == "image_folder" else []
        config = compose_train(f"{group}={option}", *place)
        check_kinds(config)
        assert config.seed == 0


def nodes():
    """Every mapping in the files, with where it stands and what takes its values, where that is known."""
    for path in sorted(CONFIGS.rglob("*.yaml")):
        stack = [(path.relative_to(CONFIGS).as_posix(), yaml.safe_load(path.read_text()))]
        while stack:
            place, node = stack.pop()
            if isinstance(node, dict):
                stack += [(f"{place}: {name}", value) for name, value in node.items()]
                taker = TAKERS.get(place.rpartition(": ")[2])
                yield place, node, get_object(node["_target_"]) if "_target_" in node else taker
            elif isinstance(node, list):
                stack += [(place, value) for value in node]


def kinds(annotation):
    """What an annotation allows, without ranges."""
    if get_origin(annotation) is Annotated:
        return kinds(get_args(annotation)[0])
    return set().union(*map(kinds, get_args(annotation))) or {annotation}


def test_defaults_of_numbers_with_a_fraction_have_one():
    """The command line refuses fractions where the default is a whole number."""
    looked_at = set()
    for place, node, taker in nodes():
        options = options_of(taker) if taker else {}
        for name in node.keys() & options.keys():
            if float in kinds(options[name].annotation) and node[name] is not None:
                looked_at.add(f"{place}: {name}")
                assert type(node[name]) is not int, f"{place}: {name}: {node[name]}"
    assert {"train.yaml: progress: seconds", "data/base/image_files.yaml: augmentation: mix_alpha"} < looked_at


def test_values_are_plain_yaml():
    """null and not None; no absolute path."""
    for path in CONFIGS.rglob("*.yaml"):
        for line in path.read_text().splitlines():
            value = line.split("#")[0].partition(":")[2].strip()
            assert value != "None", path
            assert not value.startswith("/"), path
