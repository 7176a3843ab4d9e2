"""Wrong values, wherever they stand: told by their key before anything is written."""

import functools
import sys
from typing import List, Literal  # noqa: UP035  other packages write it

import pytest
from omegaconf import OmegaConf

from gcp_repro.errors import OptionError
from gcp_repro.training.option_kinds import check_kinds
from gcp_repro.training.run import train

OWN_WORDS = (
    "compile",
    "trusted",
    "replay",
    "experiment_name",
    "paths",
    "logger",
    "trainer.precision",
    "trainer.max_time",
    "meta_layer",
)
"""Who takes these looks at them without annotations."""


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("gradient_clip_norm=x", "gradient_clip_norm must be a number > 0, or null; got 'x' for the training: change it"),
        ("gradient_clip_norm=-1", "gradient_clip_norm must be a number > 0, or null; got -1"),
        ("seed=-1", "seed must be a whole number >= 0 and <= .*; got -1"),
        ("schedule.epochs=null", "schedule.epochs must be a whole number; got None for schedule: change it"),
        ("schedule.milestones=[1,x]", "schedule.milestones must be a list, each entry a whole number; got .1, 'x'."),
        ("progress.steps=0", "progress.steps must be a whole number >= 1, or null; got 0 for progress"),
        ("trainer.max_epochs=q", "trainer.max_epochs must be a whole number >= 1, or null; got 'q' for trainer"),
        ("trainer.max_epochs=-1", "trainer.max_epochs must be a whole number >= 1, or null; got -1 for trainer"),
        ("trainer.accelerator=cppu", "trainer.accelerator must be a string among auto, gpu, .*; got 'cppu'"),
        ("trainer.limit_train_batches=1.5", "trainer.limit_train_batches must be a whole number >= 1, or a number > 0 and <= 1"),
        ("trainer.devices=-3", "trainer.devices must be a whole number >= -1 and other than 0, or a string, or a list"),
        ("trainer.devices=many", "trainer needs .* on this machine; got trainer.accelerator=cpu, trainer.devices=many"),
        ("+trainer.max_epoch=3", "trainer needs options that Lightning takes on this machine; got .* 'max_epoch'"),
        ("optimizer.momentum=null", "optimizer.momentum must be a number; got None for SGD"),
        ("optimizer.weight_decay=[1,2]", "optimizer.weight_decay must be a number; got .1, 2. for SGD"),
        ("optimizer.momentum=-1", "torch.optim.SGD needs options in its ranges; got .*optimizer.momentum=-1.*: Invalid momentum"),
        ("optimizer.nesterov=true optimizer.momentum=0.0", "SGD needs options in its ranges; got .*: Nesterov momentum requires"),
        ("data.seed=word", "data.seed must be a whole number; got 'word' for DigitsDataModule"),
        ("data.split_seed=-1", "split_seed needs a whole number of at least 0; got -1: change data.split_seed"),
        ("model.hidden_dims=null", "model.hidden_dims must be a list, each entry a whole number; got None for GCPClassifier"),
        ("model.backbone.stages=[1]", "model.backbone.stages must be a list, each entry a mapping; got .1. for NarrowAlexNet"),
        ("protocol=hybrid protocol.warmup_epochs=null", "protocol.warmup_epochs must be a whole number; got None for protocol"),
    ],
)
def test_a_wrong_value_is_told_before_anything_is_written(compose_tiny, tmp_path, override, message):
    with pytest.raises(OptionError, match=message):
        train(compose_tiny(*override.split()))
    assert not (tmp_path / "runs").exists()


class Written:
    """A taker whose annotations say less than they could."""

    def __init__(
        self,
        either: Literal[True, 2, "all"] = "all",
        bare: List = (),  # noqa: UP006
        pair: tuple[int, str] = (1, "a"),
        later: "Unknown" = None,  # noqa: F821
    ) -> None:
        pass


def asked(**options):
    node = {"_target_": f"{__name__}.Written", **options}
    check_kinds(OmegaConf.create({"protocol": {"name": "standalone"}, "written": node}))


@pytest.fixture
def importable(monkeypatch):
    monkeypatch.setitem(sys.modules, __name__, sys.modules[Written.__module__])


@pytest.mark.usefixtures("importable")
def test_takers_of_every_kind_are_asked_what_they_say():
    for value in (True, 2, "all"):
        asked(either=value)
    asked(bare=[1, "x"], pair=[1, "a"], later={"any": "thing"})
    with pytest.raises(OptionError, match=r"written\.either must be one of True, 2, all; got 1 for Written"):
        asked(either=1)
    with pytest.raises(OptionError, match=r"written\.pair must be a list, each entry a whole number, or a string; got"):
        asked(pair=[1.5])


@pytest.mark.parametrize("target", ["torch.optim.lr_scheduler.CyclicLR", "torch.optim.swa_utils.AveragedModel", "builtins.dict"])
def test_takers_without_annotations_that_can_be_read_take_anything(target):
    check_kinds(OmegaConf.create({"protocol": {"name": "standalone"}, "other": {"_target_": target, "mode": "any"}}))


def leaves(node, place=""):
    for name, value in node.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{place}{name}.")
        elif not name.startswith("_"):
            yield f"{place}{name}"


def test_every_value_of_the_configuration_has_a_taker_that_is_asked(compose_tiny):
    """A new option without a kind would end in a traceback of whoever takes it."""
    config = compose_tiny("protocol=hybrid", "protocol.warmup_epochs=1", "callbacks=study", "+trainer.max_steps=3")
    check_kinds(config)
    unasked = []
    for key in leaves(OmegaConf.to_container(config)):
        wrong = OmegaConf.to_container(config)
        *parents, name = key.split(".")
        node = functools.reduce(dict.__getitem__, parents, wrong)
        node[name] = {"no": "kind"}
        try:
            check_kinds(OmegaConf.create(wrong))
        except OptionError as error:
            said = str(error)
        else:
            said = ""
        if not said.startswith(f"{key} must be "):
            unasked.append(key)
    own = ("protocol.name", "protocol.share_initial_stage", "protocol.initial")
    assert [key for key in unasked if not key.startswith((*OWN_WORDS, *own))] == []
