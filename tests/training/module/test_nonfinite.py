"""Loss, gradient, metric and images that are not finite, in training and in validation."""

import json
from pathlib import Path

import pytest
import torch

from gcp_repro.errors import DataError, OptionError, UnknownNameError
from gcp_repro.runs import RunDirectory
from gcp_repro.training.module.gcp_module import GCPModule
from gcp_repro.training.module.nonfinite import FiniteSteps
from gcp_repro.training.replay import replay
from gcp_repro.training.run import train

LAYERS = ["gap", "isqrt_cov", "svd_pade", "bcnn", "cbp"]


@pytest.fixture
def poison(monkeypatch):
    """Let something be not finite in one batch: its images, its logits, a gradient, or the logits of validation."""

    def plant(what, epoch=1, batch=2):
        step, validation = GCPModule.training_step, GCPModule.validation_step

        def spoil(module, value):
            return module.register_forward_hook(lambda *arguments: arguments[-1] * value)

        def training_step(self, data, batch_idx):
            if (self.current_epoch, batch_idx) != (epoch, batch):
                return step(self, data, batch_idx)
            if what == "images":
                data = (data[0].clone(), data[1])
                data[0][3] = torch.nan
            if what == "gradient":
                next(self.network.parameters()).register_hook(lambda gradient: gradient * torch.nan)
            handle = spoil(self.network.classifier, torch.inf if what == "logits" else 1.0)
            try:
                return step(self, data, batch_idx)
            finally:
                handle.remove()

        def validation_step(self, data, batch_idx):
            if what == "validation" and (self.current_epoch, batch_idx) == (epoch, batch):
                spoil(self.network.classifier, torch.nan)
            validation(self, data, batch_idx)

        monkeypatch.setattr(GCPModule, "training_step", training_step)
        monkeypatch.setattr(GCPModule, "validation_step", validation_step)

    return plant


def saved_batches(config):
    return sorted(RunDirectory(config.paths.run_dir).nonfinite.glob("*.pt"))


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize(("what", "cause"), [("logits", "logits"), ("gradient", "gradient")])
def test_a_step_that_is_not_finite_ends_the_run_as_diverged(compose_tiny, poison, layer, what, cause):
    poison(what)
    config = compose_tiny(f"meta_layer={layer}")
    result = train(config)["result"]
    assert [result[name] for name in ("status", "epochs", "diverged_epoch", "diverged_batch", "diverged_cause")] == [
        "diverged", 1, 1, 2, cause
    ]  # fmt: skip
    assert f"in epoch 1, batch 2, with {layer} ({cause})" in result["message"]
    (saved,) = saved_batches(config)
    assert str(saved) in result["message"]
    json.loads(RunDirectory(config.paths.run_dir).result.read_text(), parse_constant=pytest.fail)
    weights = torch.load(RunDirectory(config.paths.run_dir).last, weights_only=True)
    assert weights["epoch"] == 0, "the checkpoint before is left"
    assert all(value.isfinite().all() for value in weights["state_dict"].values() if torch.is_tensor(value))


def test_the_saved_batch_says_which_images_it_was(compose_tiny, poison):
    poison("gradient", epoch=0, batch=1)
    config = compose_tiny()
    experiment = train(config)["experiment"]
    saved = torch.load(saved_batches(config)[0], weights_only=True)
    source = experiment.datamodule._sources["train"]
    assert [source[row][1].item() for row in saved["rows"]] == saved["labels"].tolist()
    assert (saved["step"], saved["meta_layer"], saved["cause"]) == (1, "isqrt_cov", "gradient")
    assert saved["random_state"]["cpu"].dtype == torch.uint8


@pytest.mark.parametrize("layer", LAYERS)
def test_validation_that_is_not_finite_ends_the_run_too(compose_tiny, poison, layer):
    """One step at a rate of 1e30 used to be "finished" with an error of 90 % and NaN in the JSON."""
    config = compose_tiny(
        f"meta_layer={layer}", "optimizer.lr=1e30", "schedule.epochs=1", "schedule.milestones=[]", "trainer.limit_train_batches=1"
    )
    result = train(config)["result"]
    assert result["status"] == "diverged"
    assert result["diverged_cause"].startswith("validation ")
    assert result["final_top1_error"] is None
    assert "NaN" not in RunDirectory(config.paths.run_dir).result.read_text()


def test_a_validation_batch_is_saved_and_named(compose_tiny, poison):
    poison("validation", epoch=2, batch=1)
    config = compose_tiny("trainer.limit_val_batches=3", "meta_layer=bcnn")
    result = train(config)["result"]
    assert (result["diverged_epoch"], result["diverged_batch"]) == (2, 1)
    assert saved_batches(config)[0].name == "validation-epoch2-batch1-rank0.pt"


@pytest.mark.parametrize("layer", LAYERS)
def test_images_that_are_not_finite_are_a_fault_of_the_data(compose_tiny, poison, layer):
    """No result is written: with the image mended the run goes on."""
    poison("images")
    config = compose_tiny(f"meta_layer={layer}")
    with pytest.raises(DataError, match=r"NaN or infinity is in training image \d+: mend or remove the image"):
        train(config)
    run = RunDirectory(config.paths.run_dir)
    assert not run.result.exists()
    assert run.last.exists()


@pytest.mark.parametrize("what", ["logits", "gradient", "images"])
def test_skipped_steps_leave_no_trace_and_are_counted(compose_tiny, poison, weights, read_rows, what, monkeypatch):
    options = ["on_nonfinite_step=skip", "schedule.epochs=1", "schedule.milestones=[]", "optimizer.momentum=0.9"]
    poison(what, epoch=0, batch=3)  # the last step
    config = compose_tiny(*options, "callbacks=all", runs="skipped")
    result = train(config)["result"]
    assert (result["status"], result["skipped_steps"]) == ("finished", 1)
    shorter = compose_tiny(*options, "trainer.limit_train_batches=3", runs="shorter")
    monkeypatch.undo()
    train(shorter)
    skipped, expected = (weights(Path(c.paths.run_dir)) for c in (config, shorter))
    for name, value in expected.items():
        assert not torch.is_tensor(value) or torch.equal(skipped[name], value), name
    (row,) = read_rows(Path(config.paths.run_dir) / "metrics.csv")
    assert float(row["train/loss"]) < 100


def test_too_many_skipped_steps_end_the_run(compose_tiny, monkeypatch, caplog):
    step = GCPModule.training_step

    def training_step(self, data, batch_idx):
        return step(self, (data[0] * (torch.nan if self.current_epoch else 1.0), data[1]), batch_idx)

    monkeypatch.setattr(GCPModule, "training_step", training_step)
    result = train(compose_tiny("on_nonfinite_step=skip", "max_skipped_steps=3"))["result"]
    assert (result["status"], result["skipped_steps"]) == ("diverged", 4)
    assert "after 3 skipped steps, all that max_skipped_steps allows" in result["message"]
    assert "skipping a step: images not finite in epoch 1, batch 0 (1 skipped, at most 3 are allowed)" in caplog.text


def test_accumulated_gradients_are_skipped_as_one_step(compose_tiny, poison, weights, monkeypatch):
    poison("images", epoch=0, batch=2)  # the first of two passes
    """Also the second pass, which is finite."""
    options = ["on_nonfinite_step=skip", "schedule.epochs=1", "schedule.milestones=[]", "data.batch_size=20"]
    config = compose_tiny(*options, "trainer.accumulate_grad_batches=2")
    result = train(config)["result"]
    assert (result["skipped_steps"], result["local_batch_size"]) == (1, 10)
    first = compose_tiny(*options, "trainer.accumulate_grad_batches=2", "trainer.limit_train_batches=2", runs="first")
    monkeypatch.undo()
    train(first)
    expected = weights(Path(first.paths.run_dir))
    for name in (name for name in expected if name.endswith("weight")):
        assert torch.equal(weights(Path(config.paths.run_dir))[name], expected[name]), name


def test_a_batch_can_be_looked_at_again(compose_tiny, compose_train, poison):
    """The planted fault is gone in another process, so everything is finite, and it says so."""
    poison("logits", epoch=1, batch=0)
    config = compose_tiny("meta_layer=svd_pade")
    train(config)
    (saved,) = saved_batches(config)
    said = replay(compose_train(f"replay={saved}"))
    assert "training, epoch 1, batch 0, rank 0: logits not finite, with svd_pade" in said
    table = {line.split("  ")[0]: line.split() for line in said.splitlines()}
    assert table["logits"][1:4] == ["(10,", "10)", "all"]
    assert {"images", "features", "pooled", "loss", "gradient of features"} <= table.keys()


def test_weights_that_are_not_finite_are_named(compose_tiny, compose_train, monkeypatch):
    def on_train_epoch_start(self):
        with torch.no_grad():
            next(self.network.classifier.parameters()).fill_(torch.nan)

    monkeypatch.setattr(GCPModule, "on_train_epoch_start", on_train_epoch_start)
    config = compose_tiny()
    train(config)
    said = replay(compose_train(f"replay={saved_batches(config)[0]}"))
    assert any(line.startswith("weight classifier.0.weight ") and "(10, 36)" in line for line in said.splitlines())
    assert any(line.startswith("logits") and line.endswith("0 of 100") for line in said.splitlines())


def test_only_saved_batches_can_be_looked_at(compose_train, tmp_path):
    torch.save({"a": 1}, tmp_path / "other.pt")
    with pytest.raises(DataError, match=r"needs a file from the folder 'nonfinite' of a run; .*other.pt is another one"):
        replay(compose_train(f"replay={tmp_path / 'other.pt'}"))


def test_options_out_of_range_are_refused():
    with pytest.raises(UnknownNameError, match="no policy on_nonfinite_step 'ignore'"):
        FiniteSteps("ignore")
    with pytest.raises(OptionError, match="max_skipped_steps needs at least 0; got -1"):
        FiniteSteps("skip", -1)


def test_skipped_steps_are_counted_over_interruptions():
    steps = FiniteSteps("skip")
    steps.load_state_dict(FiniteSteps("skip").state_dict() | {"skipped": 4})
    assert steps.skipped == 4
