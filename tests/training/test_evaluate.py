from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import OmegaConf

from gcp_repro.errors import DataError, OptionError, UnknownNameError
from gcp_repro.training.evaluate import evaluate, find_checkpoint
from gcp_repro.training.run import train
from tests.fakes.image_forms import write_images

HYBRID = ["protocol=hybrid", "meta_layer=svd_topn", "meta_layer.top_n=2", "schedule.milestones=[1, 3]"]


@pytest.fixture
def hybrid_run(compose_tiny):
    config = compose_tiny(*HYBRID)
    train(config)
    return Path(config.paths.run_dir)


def test_the_last_checkpoint_scores_as_the_run_did(hybrid_run, read_rows):
    metrics = evaluate(hybrid_run / "checkpoints" / "last.ckpt", accelerator="cpu")
    last = read_rows(hybrid_run / "metrics.csv")[-1]
    assert metrics == {name: float(last[name]) for name in ("val/loss", "val/top1_error", "val/top5_error")}


def test_a_checkpoint_from_before_the_swap_is_scored_with_its_own_layer(compose_tiny, read_rows):
    config = compose_tiny(*HYBRID, "trainer.max_epochs=2")
    train(config)
    run = Path(config.paths.run_dir)
    metrics = evaluate(run / "checkpoints" / "last.ckpt", accelerator="cpu")
    last = read_rows(run / "metrics.csv")[-1]
    assert last["meta_layer"] == "isqrt_cov"
    assert metrics["val/loss"] == float(last["val/loss"])


def test_the_layer_matters(hybrid_run):
    """Without this the tests above could not fail. Weights without a word on their layer are scored with the configured one."""
    config, last = hybrid_run / "config.yaml", hybrid_run / "checkpoints" / "last.ckpt"
    right = evaluate(last, accelerator="cpu")
    config.write_text(config.read_text().replace("top_n: 2", "top_n: 1"))
    with pytest.raises(DataError, match=r"trained with, svd_topn\(.*top_n=2\); got svd_topn\(.*top_n=1\)"):
        evaluate(last, accelerator="cpu")
    state = torch.load(last, weights_only=True)
    del state["state_dict"]["network.meta_layer._extra_state"]
    torch.save(state, last)
    assert evaluate(last, accelerator="cpu")["val/loss"] != right["val/loss"]


def test_which_checkpoint():
    assert find_checkpoint("runs/a", None) == Path("runs/a/checkpoints/last.ckpt")
    assert find_checkpoint(None, "x.ckpt") == Path("x.ckpt")
    for arguments in ((None, None), ("a", "b")):
        with pytest.raises(OptionError, match="one of run=DIRECTORY and checkpoint=FILE"):
            find_checkpoint(*arguments)


def test_missing_files_are_named(hybrid_run):
    with pytest.raises(DataError, match=r"needs the checkpoint at .*none.ckpt; there is no such file"):
        evaluate(hybrid_run / "checkpoints" / "none.ckpt")
    (hybrid_run / "config.yaml").unlink()
    with pytest.raises(DataError, match=r"needs the configuration of the run at .*config.yaml"):
        evaluate(hybrid_run / "checkpoints" / "last.ckpt")


@pytest.fixture
def run(compose_tiny):
    config = compose_tiny("trainer.max_epochs=1")
    train(config)
    return Path(config.paths.run_dir)


def test_data_with_another_number_of_classes_are_explained(run):
    last = run / "checkpoints" / "last.ckpt"
    state = torch.load(last, weights_only=True)
    name = [name for name in state["state_dict"] if name.startswith("network.classifier") and name.endswith("bias")][-1]
    state["state_dict"][name] = torch.zeros(7)
    torch.save(state, last)
    with pytest.raises(
        DataError,
        match=rf"last\.ckpt and .*config\.yaml, with 10 classes of data 'digits', differ in 1 of their tensors, as {name}: "
        r"\(7,\) in the checkpoint, \(10,\) in the network: correct data and model",
    ):
        evaluate(last)


def test_a_file_that_is_no_checkpoint_of_a_run_is_explained(run):
    last = run / "checkpoints" / "last.ckpt"
    torch.save({"a": torch.ones(1)}, last)
    with pytest.raises(
        DataError, match=r"needs a checkpoint of a run; .* has no 'state_dict' and 'epoch': make a run of it with gcp-import"
    ):
        evaluate(last)
    last.write_bytes(last.read_bytes()[:100])
    with pytest.raises(DataError, match=r"needs to be a file of torch\.save; reading .*last\.ckpt"):
        evaluate(last)


def test_weights_that_training_started_from_need_not_be_there(run):
    config = OmegaConf.load(run / "config.yaml")
    config.model.backbone = {
        "_target_": "gcp_repro.models.TimmBackbone", "name": "resnet10t", "checkpoint": "/gone.pth", "pretrained": True,
    }  # fmt: skip
    OmegaConf.save(config, run / "config.yaml")
    with pytest.raises(
        DataError, match=r"scoring needs the network that the weights are from; .*, none in the network: correct data and model"
    ):
        evaluate(run / "checkpoints" / "last.ckpt")


def test_errors_of_this_package_are_not_wrapped(compose_tiny):
    with pytest.raises(OptionError, match="route must be one of auto, gram, dense; got 'gramm'"):
        train(compose_tiny("meta_layer.route=gramm"))
    with pytest.raises(InstantiationException):
        train(compose_tiny("optimizer._target_=torch.optim.Nothing"))


def test_options_of_the_data_can_change(compose_train, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    options = ("data=birds", "debug=tiny", "data.image_size=32", "callbacks=none", "model=digits", "trainer.accelerator=cpu")
    config = compose_train("experiment=fashion_mnist", *options, f"paths.runs_dir={tmp_path / 'runs'}")
    train(config)
    last = Path(config.paths.run_dir) / "checkpoints" / "last.ckpt"
    as_trained = evaluate(last, accelerator="cpu")
    assert evaluate(last, accelerator="cpu", data={"eval_views": None, "num_workers": 1}) == as_trained
    assert evaluate(last, accelerator="cpu", data={"eval_views": "flip"})["val/loss"] != as_trained["val/loss"]
    with pytest.raises(UnknownNameError, match=r"no option of the data of .*config\.yaml 'eval_view'; nearest: 'eval_views'"):
        evaluate(last, accelerator="cpu", data={"eval_view": "flip"})


@pytest.mark.parametrize("checkpoint", ["last", "best"])
def test_classes_are_those_of_training_in_their_order(compose_train, tmp_path, caplog, checkpoint):
    root = write_images(tmp_path / "set", "train", "val", classes=("a", "b", "d"))
    options = ("data=image_folder", f"data.root={root}", "data.image_size=16", "data.num_workers=0", "callbacks=none")
    config = compose_train("experiment=fashion_mnist", *options, "model=digits", "trainer.accelerator=cpu",
                           "schedule.epochs=1", "schedule.milestones=[]", f"paths.runs_dir={tmp_path / 'runs'}")  # fmt: skip
    train(config)
    path = Path(config.paths.run_dir) / "checkpoints" / f"{checkpoint}.ckpt"
    as_trained = evaluate(path, accelerator="cpu")
    assert "other names than in training" not in caplog.text
    other = write_images(tmp_path / "other", "train", "val", classes=("a", "b", "zebra"))
    assert evaluate(path, accelerator="cpu", data={"root": str(other)}) == as_trained
    assert "1 of 3 classes have other names than in training: zebra stands for d" in caplog.text
    moved = write_images(tmp_path / "moved", "train", "val", classes=("b", "d", "e"))
    with pytest.raises(
        DataError, match=r"needs classes in the order of training; .*: b is 0, was 1; d is 1, was 2: set data\.root"
    ):
        evaluate(path, accelerator="cpu", data={"root": str(moved)})
