import logging

import pytest
import torch
from pytorch_lightning import LightningModule

from gcp_repro.errors import DataError
from gcp_repro.training.protocol.initial_weights import InitialWeights


class Module(LightningModule):
    def __init__(self, features=3, classes=2):
        super().__init__()
        self.network = torch.nn.ModuleDict(
            {"backbone": torch.nn.Linear(4, features), "classifier": torch.nn.Linear(features, classes)}
        )


@pytest.fixture
def source(tmp_path):
    """A checkpoint of a run with other classes."""
    module = Module(classes=5)
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": module.state_dict()}, path)
    return path, module


def test_everything_but_the_classifier_is_loaded(source):
    path, other = source
    module = Module()
    before = module.network["classifier"].weight.clone()
    InitialWeights(str(path)).setup(None, module, "fit")
    assert torch.equal(module.network["backbone"].weight, other.network["backbone"].weight)
    assert torch.equal(module.network["classifier"].weight, before)


def test_evaluation_loads_nothing(source):
    module = Module()
    before = module.network["backbone"].weight.clone()
    InitialWeights(str(source[0])).setup(None, module, "validate")
    assert torch.equal(module.network["backbone"].weight, before)


def test_random_weights_are_mentioned(caplog):
    with caplog.at_level(logging.WARNING):
        InitialWeights(None).setup(None, Module(), "fit")
    assert "training starts from random weights" in caplog.text


def test_files_that_do_not_serve(source, tmp_path):
    with pytest.raises(
        DataError, match=r"none that fit 2 of 2 tensors, as backbone\.weight: train the same model on ImageNet first"
    ):
        InitialWeights(str(source[0])).setup(None, Module(features=7), "fit")
    with pytest.raises(DataError, match=r"there is no file .*none\.ckpt: train it with gcp-train experiment=resnet50_imagenet"):
        InitialWeights(str(tmp_path / "none.ckpt")).setup(None, Module(), "fit")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    with pytest.raises(DataError, match=r"loading .*text\.ckpt gave"):
        InitialWeights(str(tmp_path / "text.ckpt")).setup(None, Module(), "fit")
